"""What was found in folders of training data, what was left out, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medicosam.io.samples import Sample

_MAX_NAMES = 5
"""Names that the text shows of everything that was skipped for one reason."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file (or folder, or slice) that is not used.

    Attributes:
        dataset: its data set.
        name: its name there.
        reason: what is wrong, without the name; after a colon what is particular to this one.
    """

    dataset: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataSetSummary:
    """One data set in numbers.

    Attributes:
        name: its name.
        layout: how its files lie, in words.
        modality: one or several, "" when not known.
        num_images: image files that are there; volumes count as one.
        num_pairs: those of them that have a mask.
        num_samples: images (slices of volumes) that are used.
        num_objects: their objects; None before `check_samples` has read them.
    """

    name: str
    layout: str
    modality: str
    num_images: int
    num_pairs: int
    num_samples: int
    num_objects: int | None = None

    def __str__(self) -> str:
        counts = [f"{self.num_images} images", f"{self.num_pairs} with masks", f"{self.num_samples} used"]
        if self.num_objects is not None:
            counts.append(f"{self.num_objects} objects")
        return f"{self.name}: {', '.join(counts)} ({self.modality or 'modality not known'}; {self.layout})"


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything that is worth knowing of a set of annotated images.

    Attributes:
        datasets: in order of their names.
        skipped: in the order in which they were found out.
        digest: sha256 (hex) over ids and pixels of all samples; "" before `check_samples` has read them.
    """

    datasets: tuple[DataSetSummary, ...]
    skipped: tuple[Skipped, ...] = ()
    digest: str = ""

    def as_text(self) -> str:
        """One line a data set, then what was skipped: every reason as the first item has it, with the first names."""
        lines = [str(summary) for summary in self.datasets]
        groups: dict[str, list[Skipped]] = {}
        for item in self.skipped:
            groups.setdefault(item.reason.split(": ")[0], []).append(item)
        if groups:
            lines.append(f"skipped {len(self.skipped)}:")
        for items in groups.values():
            names = [
                f"{item.dataset}/{item.name}" if item.dataset else item.name for item in items[:_MAX_NAMES]
            ]
            more = f" and {len(items) - _MAX_NAMES} more" if len(items) > _MAX_NAMES else ""
            lines.append(f"  {len(items)} x {items[0].reason}\n      {', '.join(names)}{more}")
        return "\n".join(lines)

    def as_record(self) -> dict[str, Any]:
        """JSON-ready description, with every name."""
        return {
            "datasets": [asdict(summary) for summary in self.datasets],
            "skipped": [asdict(item) for item in self.skipped],
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Annotated images and how they were found.

    Attributes:
        samples: ordered by data set, then by name; slices of a volume next to each other, in order.
        report: see `DataReport`.
    """

    samples: tuple[Sample, ...]
    report: DataReport
