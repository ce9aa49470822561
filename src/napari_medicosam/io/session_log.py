"""`log.jsonl` of a session: how its masks came about, a line an entry. docs/session_files.md describes it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.mask_log import (
    Answered,
    Chosen,
    Edit,
    Masks,
    Propagated,
    PropagatedSlice,
    RunOfObject,
    Stamp,
    Target,
)
from napari_medicosam.core.packing import Content
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt
from napari_medicosam.core.results import Region
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.session_document import Label, ModelEntry  # noqa: TC001  pydantic reads them
from napari_medicosam.io.session_prompts import Axis, Index, Record
from napari_medicosam.io.session_values import model_entry, model_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medicosam.core.mask_log import Entry
    from napari_medicosam.core.session_state import ModelUse

Corner = tuple[Index, Index, Index]
Bounds = tuple[float, float, float, float]
Numbered = Annotated[int, Field(ge=0)]


class _TargetEntry(Record):
    masks: Masks
    time: Index
    object_id: Label
    kept_out: tuple[Annotated[int, Field(ge=0, le=65535)], ...]


class _ModelLine(Record):
    kind: Literal["model"] = "model"
    model: ModelEntry


class _EditLine(Record):
    kind: Literal["edit"] = "edit"
    action: str
    masks: Masks
    time: Index
    start_zyx: Corner
    stop_zyx: Corner
    content: str | None


class _StampLine(Record):
    kind: Literal["stamp"] = "stamp"
    action: str
    time: Index
    start_zyx: Corner
    stop_zyx: Corner
    content: str
    label: Annotated[int, Field(ge=0, le=65535)]


class _AnswerLine(Record):
    kind: Literal["answer"] = "answer"
    model: Numbered
    target: _TargetEntry
    axis: Axis
    index: Index
    points: tuple[tuple[float, float, bool], ...]
    box: Bounds | None
    hint: str | None
    previous: Numbered | None
    previous_view: tuple[Index, Index, Index, Index] | None
    nearby_box: Bounds | None
    number: Numbered


class _ChoiceLine(Record):
    kind: Literal["choice"] = "choice"
    target: _TargetEntry
    axis: Axis
    index: Index
    answer: Numbered
    candidate: Numbered
    number: Numbered


class _RunEntry(Record):
    object_id: Label
    masks: Masks
    anchors: tuple[tuple[Index, float | None], ...]
    stops: tuple[Index, ...]
    z_range: tuple[Index, Index]
    skip: tuple[tuple[int | None, int | None], ...]


class _PropagationLine(Record):
    kind: Literal["propagation"] = "propagation"
    model: Numbered
    time: Index
    axis: Axis
    runs: tuple[_RunEntry, ...]


class _SliceLine(Record):
    kind: Literal["propagated"] = "propagated"
    target: _TargetEntry
    of: Numbered
    number: Numbered


_Line = Annotated[
    _ModelLine | _EditLine | _StampLine | _AnswerLine | _ChoiceLine | _PropagationLine | _SliceLine,
    Field(discriminator="kind"),
]
_LINE: TypeAdapter[Any] = TypeAdapter(_Line)


def lines_of(log: Iterable[Entry]) -> Iterator[str]:
    """A log as the lines of its file. Propagations that came to nothing are left out."""
    models: list[ModelUse] = []
    runs: dict[Propagated, int] = {}
    for entry in log:
        model = entry.model if isinstance(entry, Answered | Propagated) else None
        if model is not None and model not in models:
            models.append(model)
            yield _ModelLine(model=model_entry(model)).model_dump_json()
        number = 0 if model is None else models.index(model)
        match entry:
            case Edit():
                yield _edit_line(entry).model_dump_json()
            case Stamp(box=box):
                yield _StampLine(
                    action=entry.action,
                    time=entry.time,
                    start_zyx=box.start_zyx,
                    stop_zyx=box.stop_zyx,
                    content=_text(entry.content),
                    label=entry.label,
                ).model_dump_json()
            case Answered():
                yield _answer_line(entry, number).model_dump_json()
            case Chosen(target=target, plane=plane):
                yield _ChoiceLine(
                    target=_target_entry(target),
                    axis=plane.axis,
                    index=plane.index,
                    answer=entry.answer,
                    candidate=entry.candidate,
                    number=entry.number,
                ).model_dump_json()
            case Propagated(model=known) if known is not None:
                runs[entry] = len(runs)
                run_entries = tuple(_run_entry(one) for one in entry.runs)
                yield _PropagationLine(
                    model=number, time=entry.time, axis=entry.axis, runs=run_entries
                ).model_dump_json()
            case PropagatedSlice():
                yield _SliceLine(
                    target=_target_entry(entry.target), of=runs[entry.of], number=entry.number
                ).model_dump_json()


def log_of(lines: Iterable[bytes], shape_tzyx: tuple[int, int, int, int]) -> tuple[Entry, ...]:
    """The log that lines of a file hold.

    Raises:
        FileError: for lines that are none, or not of an image of this shape; it does not name the file.
    """
    models: list[ModelUse] = []
    runs: list[Propagated] = []
    entries: list[Entry] = []
    for number, text in enumerate(lines, start=1):
        try:
            line = _LINE.validate_json(text)
            if isinstance(line, _ModelLine):
                models.append(model_of(line.model))
                continue
            entry = _entry_of(line, models, runs)
            _check(entry, shape_tzyx)
        except (ValidationError, IndexError, InputError, binascii.Error, ValueError) as error:
            raise FileError(f"line {number} of its log: {str(error).splitlines()[0]}") from error
        if isinstance(entry, Propagated):
            runs.append(entry)
        entries.append(entry)
    return tuple(entries)


def _entry_of(line: Any, models: list[ModelUse], runs: list[Propagated]) -> Entry:
    match line:
        case _EditLine():
            content = None if line.content is None else _content(line.content)
            return Edit(line.action, line.masks, line.time, VoxelBox(line.start_zyx, line.stop_zyx), content)
        case _StampLine():
            box = VoxelBox(line.start_zyx, line.stop_zyx)
            return Stamp(line.action, line.time, box, _content(line.content), line.label)
        case _AnswerLine():
            return Answered(
                models[line.model],
                _target(line.target),
                SlicePlane(line.axis, line.index),
                tuple(PointPrompt((y, x), positive) for y, x, positive in line.points),
                None if line.box is None else BoxPrompt(*line.box),
                None if line.hint is None else _content(line.hint),
                line.previous,
                None if line.previous_view is None else Region(*line.previous_view),
                None if line.nearby_box is None else BoxPrompt(*line.nearby_box),
                line.number,
            )
        case _ChoiceLine():
            plane = SlicePlane(line.axis, line.index)
            return Chosen(_target(line.target), plane, line.answer, line.candidate, line.number)
        case _PropagationLine():
            made = tuple(RunOfObject(**one.model_dump()) for one in line.runs)
            return Propagated(line.time, line.axis, made, models[line.model])
    return PropagatedSlice(_target(line.target), runs[line.of], line.number)


def _check(entry: Entry, shape_tzyx: tuple[int, int, int, int]) -> None:
    """Raise `InputError` for an entry that is not of an image of this shape."""
    num_times, *sides = shape_tzyx
    time = entry.time if isinstance(entry, Edit | Stamp | Propagated) else entry.target.time
    if time >= num_times:
        raise InputError(f"time point {time} of an image that has {num_times}")
    if isinstance(entry, Answered | Chosen):
        entry.plane.check((sides[0], sides[1], sides[2]))
    if isinstance(entry, Edit | Stamp) and any(
        stop > side or stop <= start
        for start, stop, side in zip(entry.box.start_zyx, entry.box.stop_zyx, sides, strict=True)
    ):
        raise InputError(f"{entry.box} in an image of shape {tuple(sides)}")


def _edit_line(edit: Edit) -> _EditLine:
    return _EditLine(
        action=edit.action,
        masks=edit.masks,
        time=edit.time,
        start_zyx=edit.box.start_zyx,
        stop_zyx=edit.box.stop_zyx,
        content=None if edit.content is None else _text(edit.content),
    )


def _answer_line(answer: Answered, model: int) -> _AnswerLine:
    view = answer.previous_view
    return _AnswerLine(
        model=model,
        target=_target_entry(answer.target),
        axis=answer.plane.axis,
        index=answer.plane.index,
        points=tuple((*point.position_yx, point.positive) for point in answer.points),
        box=None if answer.box is None else answer.box.bounds,
        hint=None if answer.hint is None else _text(answer.hint),
        previous=answer.previous,
        previous_view=None if view is None else (view.y0, view.x0, view.y1, view.x1),
        nearby_box=None if answer.nearby_box is None else answer.nearby_box.bounds,
        number=answer.number,
    )


def _run_entry(run: RunOfObject) -> _RunEntry:
    return _RunEntry(
        object_id=run.object_id,
        masks=run.masks,
        anchors=run.anchors,
        stops=run.stops,
        z_range=run.z_range,
        skip=run.skip,
    )


def _target_entry(target: Target) -> _TargetEntry:
    return _TargetEntry(
        masks=target.masks, time=target.time, object_id=target.object_id, kept_out=target.kept_out
    )


def _target(entry: _TargetEntry) -> Target:
    return Target(entry.masks, entry.time, entry.object_id, entry.kept_out)


def _text(content: Content) -> str:
    return base64.b64encode(content.packed).decode("ascii")


def _content(text: str) -> Content:
    return Content.of_packed(base64.b64decode(text, validate=True))
