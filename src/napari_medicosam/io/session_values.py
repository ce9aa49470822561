"""A session state as the records of `session.json`, and back."""

from __future__ import annotations

import base64
import importlib.metadata
import platform
import zlib
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.effort import ObjectEffort
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.label_classes import LabelClass, LabelClasses
from napari_medicosam.core.nesting import Taken
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable
from napari_medicosam.core.packing import Content
from napari_medicosam.core.session_state import ImageReference, ModelUse, SessionState, TimeState
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.session_document import (
    FORMAT,
    VERSION,
    AgreementEntry,
    ClassEntry,
    EffortEntry,
    ImageEntry,
    MappingEntry,
    MaskEntry,
    ModelEntry,
    ObjectEntry,
    PolicyEntry,
    PropagationEntry,
    ScoreEntry,
    SessionDocument,
    TakenEntry,
    TimeEntry,
    ZoomEntry,
)
from napari_medicosam.io.session_prompts import entry_of, prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping


_PACKAGES = ("napari-medicosam", "napari", "numpy", "openvino", "torch", "zarr")

RUNTIME_ENTRY = "encoder_runtime"
"""What encoded, among the software that a session was made with."""


def software_versions() -> dict[str, str]:
    """What a session was made with."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def document_of(state: SessionState, software: Mapping[str, str]) -> SessionDocument:
    """A state as the file holds it; its image's digest must be known."""
    image = state.image
    return SessionDocument(
        format=FORMAT,
        version=VERSION,
        software=dict(software) | ({RUNTIME_ENTRY: state.model.runtime} if state.model.runtime else {}),
        image=ImageEntry(
            sha256=image.sha256,
            shape_tzyx=image.shape_tzyx,
            dtype=image.dtype,
            spacing_zyx_mm=image.spacing_zyx_mm,
            file=image.file or None,
        ),
        model=model_entry(state.model),
        classes=tuple(ClassEntry(id=one.class_id, name=one.name, color=one.colour) for one in state.classes),
        policy=PolicyEntry(
            overwrite=state.policy.overwrite,
            inside_class=state.policy.inside_class,
            outside_class=state.policy.outside_class,
        ),
        times=tuple(_time_entry(one) for one in state.times),
        effort=tuple(
            EffortEntry(
                object_id=object_id,
                active_seconds=one.seconds,
                corrections=one.corrections,
                counts=dict(one.counts),
            )
            for object_id, one in sorted(state.effort.items())
        ),
    )


def model_entry(model: ModelUse) -> ModelEntry:
    """How a model was used, as a record."""
    mapping = model.mapping
    return ModelEntry(
        name=model.name,
        weights_sha256=model.weights_sha256 or None,
        window=model.window,
        mapping=None if mapping is None else MappingEntry(**mapping.as_record()),
        zoom=ZoomEntry(**model.zoom),
        propagation=PropagationEntry(**model.propagation),
    )


def model_of(entry: ModelEntry) -> ModelUse:
    """The values of a record; `InputError` for an intensity mapping that makes no sense."""
    mapping = entry.mapping
    return ModelUse(
        entry.name,
        entry.window,
        entry.weights_sha256 or "",
        None if mapping is None else IntensityMapping(**mapping.model_dump()),
        entry.zoom.model_dump(),
        entry.propagation.model_dump(),
    )


def _time_entry(state: TimeState) -> TimeEntry:
    table = state.table
    return TimeEntry(
        time=state.time,
        current=table.current,
        locked_classes=tuple(sorted(table.locked_classes)),
        objects=tuple(_object_entry(state, record) for _, record in sorted(table.records.items())),
        own=None if state.own is None else MaskEntry(**_mask_fields(state.own)),
    )


def _object_entry(state: TimeState, record: ObjectRecord) -> ObjectEntry:
    object_id = record.object_id
    anchors = sorted((plane.axis, plane.index) for plane in state.table.anchors_of(object_id))
    scores = [
        ScoreEntry(axis=plane.axis, index=plane.index, iou_prediction=iou, area=area)
        for (known, plane), (iou, area) in state.scores.items()
        if known == object_id
    ]
    agreements = [
        AgreementEntry(axis=plane.axis, index=plane.index, agreement=agreement)
        for plane, agreement in state.table.agreements_of(object_id).items()
    ]
    return ObjectEntry(
        id=object_id,
        name=record.name,
        class_id=record.class_id,
        is_locked=record.is_locked,
        is_visible=record.is_visible,
        is_committed=record.is_committed,
        prompts=tuple(entry_of(prompt) for prompt in state.table.prompts_of(object_id).all),
        anchors=tuple(anchors),
        scores=tuple(sorted(scores, key=_place)),
        agreements=tuple(sorted(agreements, key=_place)),
        taken=tuple(
            TakenEntry(label=one.label, **_mask_fields(one.mask)) for one in state.table.taken_of(object_id)
        ),
    )


@lru_cache(
    maxsize=16
)  # a journal writes the same ones again and again; masks that are gone are held here, too
def _mask_fields(packed: PackedMask) -> dict[str, Any]:
    content = Content.of_made(lambda: packed.mask, packed.num_bytes)
    text = base64.b64encode(content.packed).decode("ascii")
    return {"start_zyx": packed.box.start_zyx, "stop_zyx": packed.box.stop_zyx, "content": text}


def _mask_of(entry: MaskEntry, shape_zyx: tuple[int, int, int]) -> PackedMask:
    box = VoxelBox(entry.start_zyx, entry.stop_zyx)
    if box == VoxelBox():
        return PackedMask()
    if box.is_empty or any(stop > side for stop, side in zip(box.stop_zyx, shape_zyx, strict=True)):
        raise FileError(f"a mask at {box} in an image of shape {shape_zyx}")
    try:
        content = Content.of_packed(base64.b64decode(entry.content, validate=True))
        mask = content.array(box.shape, bool)
    except (ValueError, zlib.error) as error:
        raise FileError(f"a mask at {box} is damaged: {error}") from error
    return PackedMask.of(mask, VoxelBox((0, 0, 0), box.shape)).moved(box.start_zyx)


def _place(entry: ScoreEntry | AgreementEntry) -> tuple[int, int]:
    return entry.axis, entry.index


def state_of(document: SessionDocument) -> SessionState:
    """The values that a file holds. Voxels are not counted yet.

    Raises:
        FileError: where they contradict each other; it does not name the file.
    """
    image = document.image
    try:
        return SessionState(
            ImageReference(
                image.shape_tzyx, image.dtype, image.spacing_zyx_mm, image.sha256, image.file or ""
            ),
            replace(model_of(document.model), runtime=document.software.get(RUNTIME_ENTRY, "")),
            tuple(_time_state(one, image.shape_tzyx) for one in document.times),
            LabelClasses(tuple(LabelClass(one.id, one.name, one.color) for one in document.classes)),
            CommitPolicy(**document.policy.model_dump()),
            {one.object_id: _effort_of(one) for one in document.effort},
        )
    except InputError as error:
        raise FileError(str(error)) from error


def _effort_of(entry: EffortEntry) -> ObjectEffort:
    effort = ObjectEffort(entry.active_seconds, corrections=entry.corrections)
    effort.counts.update(entry.counts)
    return effort


def _time_state(entry: TimeEntry, shape_tzyx: tuple[int, int, int, int]) -> TimeState:
    num_times, *sides = shape_tzyx
    shape_zyx = (sides[0], sides[1], sides[2])
    if entry.time >= num_times:
        raise FileError(f"time point {entry.time} of an image that has {num_times}")
    records, prompts, anchors, agreements, taken = {}, {}, {}, {}, {}
    scores: dict[tuple[int, SlicePlane], tuple[float, int]] = {}
    for one in entry.objects:
        if one.id in records:
            raise FileError(f"object {one.id} twice")
        records[one.id] = ObjectRecord(
            one.id, one.name, one.class_id, one.is_locked, one.is_visible, one.is_committed
        )
        if one.prompts:
            prompts[one.id] = prompts_of(one.prompts, shape_zyx)
        if one.anchors:
            anchors[one.id] = frozenset(_plane(axis, index, shape_zyx) for axis, index in one.anchors)
        if one.agreements:
            agreements[one.id] = MappingProxyType(
                {_plane(known.axis, known.index, shape_zyx): known.agreement for known in one.agreements}
            )
        if one.taken:
            taken[one.id] = tuple(Taken(known.label, _mask_of(known, shape_zyx)) for known in one.taken)
        scores |= {
            (one.id, _plane(score.axis, score.index, shape_zyx)): (score.iou_prediction, score.area)
            for score in one.scores
        }
    table = ObjectTable(
        MappingProxyType(records),
        prompts=MappingProxyType(prompts),
        anchors=MappingProxyType(anchors),
        locked_classes=frozenset(entry.locked_classes),
        agreements=MappingProxyType(agreements),
        taken=MappingProxyType(taken),
    )
    own = None if entry.own is None else _mask_of(entry.own, shape_zyx)
    return TimeState(entry.time, table.with_current(entry.current), scores, own)


def _plane(axis: int, index: int, shape_zyx: tuple[int, int, int]) -> SlicePlane:
    plane = SlicePlane(axis, index)
    plane.check(shape_zyx)
    return plane
