"""Samples divided into training and validation, patient by patient, with an equal share of every modality."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medicosam.io.samples import Sample


def split_samples(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(training, validation), about `fraction` of every modality (data set, where it is not known) in the second.

    A patient is on one side only, also when several data sets show the same one: patients of one name count as one
    patient. A modality of two or more patients is on both sides if any choice of patients allows it.

    Args:
        samples: what to divide; their order does not matter, and is kept on both sides.
        fraction: more than 0, less than 1.
        seed: of the choice of patients.

    Raises:
        InputError: for another fraction, or when all samples are of one patient.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction for validation must be between 0 and 1, got {fraction}")
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        counts.setdefault(sample.patient, Counter())[_stratum(sample)] += 1
    if len(counts) < 2:
        raise InputError(
            f"{len(samples)} samples of {len(counts)} patients cannot be divided: wanted two patients or more "
            "(where they are told by the names of files: patient_pattern in dataset.json)"
        )
    chosen = _choose(counts, fraction, seed)
    train = tuple(sample for sample in samples if sample.patient not in chosen)
    return train, tuple(sample for sample in samples if sample.patient in chosen)


def _stratum(sample: Sample) -> str:
    return f"modality {sample.modality}" if sample.modality else f"data set {sample.dataset}"


def _choose(counts: dict[str, Counter[str]], fraction: float, seed: int) -> set[str]:
    """Patients for validation.

    In random order, each is taken when it brings the shares of its strata nearer to `fraction`; then every stratum
    that got none gets its smallest patient, unless that would leave some stratum without training data.
    """
    patients = sorted(counts)
    np.random.default_rng(seed).shuffle(patients)
    total: Counter[str] = sum(counts.values(), Counter())
    taken: Counter[str] = Counter()
    chosen: set[str] = set()

    def gain(patient: str) -> float:
        """How much nearer the shares come; negative for further away."""
        return sum(
            abs(fraction - taken[stratum] / total[stratum])
            - abs(fraction - (taken[stratum] + count) / total[stratum])
            for stratum, count in counts[patient].items()
        )

    def leaves_some(patient: str) -> bool:
        return all(taken[stratum] + count < total[stratum] for stratum, count in counts[patient].items())

    def take(patient: str) -> None:
        chosen.add(patient)
        taken.update(counts[patient])

    for patient in patients:
        if gain(patient) > 0 and leaves_some(patient):
            take(patient)
    for stratum in sorted(total):
        left = [patient for patient in patients if stratum in counts[patient] and leaves_some(patient)]
        if not taken[stratum] and left:
            take(min(left, key=lambda patient: counts[patient].total()))
    return chosen
