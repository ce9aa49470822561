"""Reading everything before training, and dividing it."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.data_report import DataReport, DataSetSummary, SampleSet, Skipped
from napari_medicosam.io.sample_checks import check_samples
from napari_medicosam.io.sample_splits import split_samples
from napari_medicosam.io.samples import AnnotatedImage


@dataclass(frozen=True)
class FakeSample:
    sample_id: str
    dataset: str = "d"
    modality: str = "CT"
    patient: str = "p"
    value: int = 9
    fails: bool = False
    shift: int = 0

    def load(self) -> AnnotatedImage:
        if self.fails:
            raise FileError("it is broken")
        labels = np.zeros((12, 12), np.uint8)
        labels[2:8, 2 + self.shift : 8 + self.shift] = 1
        return AnnotatedImage(np.full((12, 12), self.value, np.uint8), find_objects(labels))


def set_of(*samples: FakeSample) -> SampleSet:
    names = sorted({sample.dataset for sample in samples})
    counts = Counter(sample.dataset for sample in samples)
    return SampleSet(
        samples,
        DataReport(tuple(DataSetSummary(n, "fake", "CT", counts[n], counts[n], counts[n]) for n in names)),
    )


def test_what_cannot_be_used_is_dropped_and_told() -> None:
    found = set_of(FakeSample("a"), FakeSample("b", fails=True), FakeSample("c", dataset="e"))

    checked = check_samples(found, workers=2)

    assert [s.sample_id for s in checked.samples] == ["a", "c"]
    assert [(d.num_images, d.num_samples, d.num_objects) for d in checked.report.datasets] == [
        (2, 1, 1),
        (1, 1, 1),
    ]
    assert checked.report.skipped == (Skipped("d", "b", "it is broken"),)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    samples = [FakeSample(str(n), patient=str(n // 2)) for n in range(7)]
    check_samples(set_of(*samples), lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(2, 7), (4, 7), (6, 7), (7, 7)]


def test_nothing_left_is_an_error_with_the_reasons() -> None:
    with pytest.raises(FileError, match="it is broken"):
        check_samples(set_of(FakeSample("a", fails=True)))
    with pytest.raises(InputError, match="at least 1 worker"):
        check_samples(set_of(FakeSample("a")), workers=0)


def test_the_digest_is_of_ids_pixels_and_objects_and_not_of_order_or_workers() -> None:
    samples = [FakeSample(str(n), patient=str(n)) for n in range(5)]

    def digest(*changed: FakeSample, workers: int = 1) -> str:
        return check_samples(set_of(*changed), workers=workers).report.digest

    base = digest(*samples)
    assert len(base) == 64
    assert digest(*reversed(samples), workers=3) == base
    for change in ({"value": 10}, {"shift": 1}, {"sample_id": "x"}, {"dataset": "x"}):
        assert digest(replace(samples[0], **change), *samples[1:]) != base


def test_the_report_groups_reasons_and_shows_the_first_names() -> None:
    skipped = [Skipped("d", f"n{i}", f"another size than its image: {i} x {i}") for i in range(7)]
    report = DataReport(
        (DataSetSummary("d", "images/ and masks/", "", 9, 8, 1, 4),),
        (*skipped, Skipped("", "x", "no layout")),
    )

    assert report.as_text().splitlines() == [
        "d: 9 images, 8 with masks, 1 used, 4 objects (modality not known; images/ and masks/)",
        "skipped 8:",
        "  7 x another size than its image: 0 x 0",
        "      d/n0, d/n1, d/n2, d/n3, d/n4 and 2 more",
        "  1 x no layout",
        "      x",
    ]
    record = json.loads(json.dumps(report.as_record()))
    assert len(record["skipped"]) == 8
    assert record["datasets"][0]["num_objects"] == 4


def many() -> list[FakeSample]:
    """Three modalities of 40, 20 and 10 patients with 2 slices each; the last without a known modality."""
    return [
        FakeSample(f"{patient}_{z}", dataset, modality, f"{dataset}{patient}")
        for dataset, modality, num_patients in (("a", "CT", 40), ("b", "MRI", 20), ("c", "", 10))
        for patient in range(num_patients)
        for z in range(2)
    ]


def test_a_split_is_stratified_patient_wise_and_keeps_the_order() -> None:
    samples = many()
    train, val = split_samples(samples, 0.1, seed=0)

    assert Counter(s.dataset for s in val) == {"a": 8, "b": 4, "c": 2}
    assert not {s.patient for s in train} & {s.patient for s in val}
    assert sorted([*train, *val], key=samples.index) == samples
    assert list(train) == sorted(train, key=samples.index)


def test_a_split_depends_on_the_seed_and_on_nothing_else() -> None:
    samples = many()
    _, val = split_samples(samples, 0.1, seed=0)
    _, again = split_samples(samples[::-1], 0.1, seed=0)
    _, other = split_samples(samples, 0.1, seed=1)
    assert set(again) == set(val)
    assert set(other) != set(val)


def test_a_patient_of_two_data_sets_is_on_one_side() -> None:
    samples = [
        FakeSample(f"{n}", dataset, dataset, patient=f"STS{n}")
        for dataset in ("ct", "mr", "pet")
        for n in range(10)
    ]
    train, val = split_samples(samples, 0.2, seed=3)
    assert not {s.patient for s in train} & {s.patient for s in val}
    assert Counter(s.dataset for s in val) == {"ct": 2, "mr": 2, "pet": 2}


def test_few_patients_are_on_both_sides_and_a_single_one_trains() -> None:
    few = [FakeSample(f"{p}{n}", "few", "PET", p) for p in ("p1", "p2") for n in range(5)]
    single = [FakeSample(f"{n}", "single", "OCT", "only") for n in range(5)]
    for seed in range(5):
        train, val = split_samples([*many(), *few, *single], 0.1, seed)
        assert Counter(s.dataset for s in val)["few"] == 5
        assert Counter(s.dataset for s in train)["few"] == 5
        assert Counter(s.dataset for s in train)["single"] == 5
    train, _ = split_samples([*many(), *single], 0.7, seed=0)
    assert Counter(s.dataset for s in train)["single"] == 5


def test_splits_that_cannot_be() -> None:
    for fraction in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="between 0 and 1"):
            split_samples(many(), fraction, seed=0)
    with pytest.raises(InputError, match="two patients or more"):
        split_samples([FakeSample("a"), FakeSample("b")], 0.5, seed=0)
