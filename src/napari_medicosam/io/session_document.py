"""`session.json`, checked: every field of it, as docs/session_files.md describes them.

A field is never changed or added without a new `VERSION`, and files of earlier versions stay readable.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from napari_medicosam.errors import FileError
from napari_medicosam.io.session_prompts import Axis, Index, PromptEntry, Record

FORMAT: Final = "napari-medicosam session"
VERSION: Final = 2
"""Of what is written. Version 1 knows neither stamps in the log, nor `taken` and `own`."""

Label = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ImageEntry(Record):
    """Which image."""

    sha256: Digest
    shape_tzyx: tuple[Length, Length, Length, Length]
    dtype: str
    spacing_zyx_mm: tuple[float, float, float] | None
    file: str | None


class MappingEntry(Record):
    """The intensities that the model saw as black and as white."""

    kind: Literal["identity", "window", "percentile", "minmax"]
    low: float
    high: float
    name: str


class ZoomEntry(Record):
    """Fields of `predict.zoom.ZoomRule`."""

    policy: str
    context: float
    max_share: float
    max_side: float
    min_pixels: int
    reuse_first_mask: bool


class PropagationEntry(Record):
    """Fields of `predict.propagation_settings.PropagationSettings`."""

    mode: str
    iou_threshold: float
    box_extension: float
    min_confidence: float
    box_extension_mm: float | None
    reference_spacing_mm: float | None
    between: str
    appearance: float = 0.0
    likeness: float = 0.0


class ModelEntry(Record):
    """What answered, and how it saw the image."""

    name: str
    weights_sha256: Digest | None
    window: str
    mapping: MappingEntry | None
    zoom: ZoomEntry
    propagation: PropagationEntry


class ClassEntry(Record):
    """A label class."""

    id: Label
    name: str
    color: tuple[int, int, int]


class PolicyEntry(Record):
    """Fields of `core.commit_policy.CommitPolicy`."""

    overwrite: bool
    inside_class: int | None
    outside_class: int | None


class ScoreEntry(Record):
    """What the model thought of its mask on a slice, and how many pixels that mask has."""

    axis: Axis
    index: Index
    iou_prediction: float
    area: Count


class AgreementEntry(Record):
    """How well the planes that voted on an object's mask agree on a slice."""

    axis: Axis
    index: Index
    agreement: float


class MaskEntry(Record):
    """A mask in a part of the volume: one bit a voxel, zlib, base64."""

    start_zyx: tuple[Index, Index, Index]
    stop_zyx: tuple[Index, Index, Index]
    content: str


class TakenEntry(MaskEntry):
    """Voxels that an object took from another one when it was committed."""

    label: Label


class ObjectEntry(Record):
    """An object at one time point."""

    id: Label
    name: Annotated[str, Field(min_length=1)]
    class_id: int | None
    is_locked: bool
    is_visible: bool
    is_committed: bool
    prompts: tuple[PromptEntry, ...]
    anchors: tuple[tuple[Axis, Index], ...]
    scores: tuple[ScoreEntry, ...]
    agreements: tuple[AgreementEntry, ...]
    taken: tuple[TakenEntry, ...] = ()


class TimeEntry(Record):
    """The objects at one time point."""

    time: Index
    current: Label
    locked_classes: tuple[int, ...]
    objects: Annotated[tuple[ObjectEntry, ...], Field(min_length=1)]
    own: MaskEntry | None = None


class EffortEntry(Record):
    """What an object cost."""

    object_id: Label
    active_seconds: Annotated[float, Field(ge=0)]
    corrections: Count
    counts: dict[str, Count]


class SessionDocument(Record):
    """All of `session.json`."""

    format: Literal["napari-medicosam session"]
    version: Literal[1, 2]
    software: dict[str, str]
    image: ImageEntry
    model: ModelEntry
    classes: tuple[ClassEntry, ...]
    policy: PolicyEntry
    times: Annotated[tuple[TimeEntry, ...], Field(min_length=1)]
    effort: tuple[EffortEntry, ...]


def parse_document(text: bytes) -> SessionDocument:
    """`session.json` checked.

    Raises:
        FileError: for text that is none, or of a later version; it does not name the file.
    """
    try:
        return SessionDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if place == "version":
            raise FileError(
                f"it has version {first['input']!r}, and this program reads versions 1 to {VERSION}: "
                "use the napari-medicosam that wrote it, or a newer one"
            ) from error
        raise FileError(f"{place + ': ' if place else ''}{first['msg']}") from error
