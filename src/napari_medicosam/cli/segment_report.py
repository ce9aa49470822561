"""What `medicosam segment` tells about its objects, and writes with --json. It never holds the name of a file."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.cli.job import Job
    from napari_medicosam.cli.refining import Refinement
    from napari_medicosam.core.prompts import ObjectPrompts
    from napari_medicosam.predict.propagation import PropagationSettings


@dataclass(slots=True)
class FoundObject:
    """What is known about one object.

    Attributes:
        wanted: its prompts.
        scores: predicted IoU of the model's masks, by slice.
        agreement: mean Dice of the masks along three axes; None where they were not asked.
        slices: where the label map has it, along the axis of the prompts.
        voxels: how many it has there.
    """

    wanted: ObjectPrompts
    scores: dict[int, float] = field(default_factory=dict)
    agreement: float | None = None
    slices: list[int] = field(default_factory=list)
    voxels: int = 0

    def count(self, labels: NDArray[np.unsignedinteger], axis: int) -> None:
        """Look up in the finished label map (z, y, x) what the object has there."""
        planes = (SlicePlane(axis, index) for index in range(labels.shape[axis]))
        counts = [int(np.count_nonzero(plane.cut(labels) == self.wanted.object_id)) for plane in planes]
        self.slices = [index for index, count in enumerate(counts) if count]
        self.voxels = sum(counts)

    def as_record(self, voxel_mm3: float) -> dict[str, Any]:
        """For the report."""
        record = {
            "id": self.wanted.object_id,
            "name": self.wanted.name,
            "prompted_slices": [prompts.plane.index for prompts in self.wanted.prompt_sets],
            "slices": self.slices,
            "iou_predictions": {str(index): round(self.scores[index], 4) for index in sorted(self.scores)},
            "voxels": self.voxels,
            "mm3": round(self.voxels * voxel_mm3, 3),
        }
        if self.agreement is not None:
            record["three_planes_dice"] = round(self.agreement, 4)
        return record


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Everything about one run.

    Attributes:
        job: image, model and mapping.
        propagation: None where only prompted slices were asked.
        refinement: what was done with whole masks.
        overlap: which object has a voxel that two of them claim.
        objects: what was found.
        seconds: that segmenting all of them took, together.
    """

    job: Job
    propagation: PropagationSettings | None
    refinement: Refinement
    overlap: str
    objects: Sequence[FoundObject]
    seconds: float

    def as_record(self) -> dict[str, Any]:
        """The content of the file."""
        job, how, clean_up = self.job, self.propagation, self.refinement.clean_up
        geometry = job.image.geometry
        return {
            "version": version("napari-medicosam"),
            "model": job.model.name,
            "weights_sha256": job.model.weights_sha256,
            "zoom": job.service.zoom.policy,
            "intensity": job.mapping.as_record(),
            "axis": job.stack.axis,
            "plane": geometry.plane_name(job.stack.axis),
            "shape_zyx": list(geometry.shape_zyx),
            "spacing_zyx_mm": list(geometry.spacing_zyx),
            "propagation": None if how is None else {**asdict(how), "mode": str(how.mode)},
            "three_planes": self.refinement.three_planes is not None,
            "clean_up": None if clean_up is None else asdict(clean_up),
            "overlap": self.overlap,
            "seconds": round(self.seconds, 3),
            "objects": [one.as_record(geometry.voxel_volume_mm3) for one in self.objects],
        }

    def write(self, path: Path) -> None:
        """Write it; whoever calls has asked whether an old file may be replaced."""
        beside = path.with_name(f".{path.name}.part")
        try:
            beside.write_text(json.dumps(self.as_record(), indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):  # a disk that can only be read refuses this, too
                beside.unlink(missing_ok=True)
            raise FileError(f"cannot write the report {path}: {error}") from error
