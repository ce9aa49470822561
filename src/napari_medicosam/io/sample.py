"""The real scan that comes with the package: for the demo, for File > Open Sample, for trying things out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from napari_medicosam.io.reader import read_layers


@dataclass(frozen=True, slots=True)
class SampleScan:
    """A shipped scan and one object of it that is known.

    Attributes:
        name: what the scan is.
        image, labels: NIfTI files on one voxel grid.
        truth: who or what made `labels`.
        organ, label: the object's name and its value in `labels`.
        slice_index, box: bounds (y0, x0, y1, x1) of the object on that slice of axis 0.
        window: the intensity window it is read with.
    """

    name: str
    image: Path
    labels: Path
    truth: str
    organ: str
    label: int
    slice_index: int
    box: tuple[int, int, int, int]
    window: str


def ct_abdomen() -> SampleScan:
    """Abdominal CT, 20 slices of 2 mm; labels are TotalSegmentator's output (see NOTICE), 1 is the spleen."""
    folder = Path(str(resources.files("napari_medicosam"))) / "sample_data"
    return SampleScan(
        name="Abdominal CT",
        image=folder / "ct_abdomen.nii.gz",
        labels=folder / "ct_abdomen_labels.nii.gz",
        truth="TotalSegmentator's output, not drawn by experts",
        organ="spleen",
        label=1,
        slice_index=10,
        box=(74, 59, 207, 158),
        window="ct-soft-tissue",
    )


def load_ct_demo() -> list[tuple[Any, dict[str, Any], str]]:
    """npe2 sample data: the abdominal CT as one image layer."""
    return read_layers(str(ct_abdomen().image))
