"""Scores on disk while an evaluation runs: an image is there in full or not at all, whatever ends the process.

<folder>/settings.json   what is evaluated; a folder holds one way of doing it
<folder>/scores.csv      one line a mask (`ObjectScore`)
<folder>/finished.csv    one line an image and model, written after its scores: where they end, and their crc32
"""

from __future__ import annotations

import csv
import io
import json
import os
import zlib
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

import filelock
import pandas as pd

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.evaluation.interactive import ObjectScore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SETTINGS, SCORES, FINISHED = "settings.json", "scores.csv", "finished.csv"

COLUMNS = tuple(field.name for field in fields(ObjectScore))
_TEXTS = ("model", "dataset", "modality", "image", "start", "zoom")
_HEADER = (",".join(COLUMNS) + "\n").encode()
_FINISHED_HEADER = b"model,dataset,image,objects,end,crc32\n"


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What a folder of results is about.

    Attributes:
        settings: how annotation is simulated, JSON-ready; the same for everything in the folder.
        models: name -> sha256 of the weights.
        datasets: name -> JSON-ready description that tells two states of a data set apart.
    """

    settings: Mapping[str, Any]
    models: Mapping[str, str]
    datasets: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What `settings.json` holds."""
        return {"settings": self.settings, "models": self.models, "datasets": self.datasets}

    def merged_with(self, old: EvaluationRecord, folder: Path) -> EvaluationRecord:
        """The same, with the models and data sets that the folder holds already.

        Raises:
            InputError: when settings, or weights or images of the same name, differ from those of the folder.
        """
        different = [
            f"{name} was {_show(old.settings.get(name))} and is {_show(self.settings.get(name))}"
            for name in sorted({*old.settings, *self.settings})
            if old.settings.get(name) != self.settings.get(name)
        ]
        for what, before, now in (
            ("weights of model", old.models, self.models),
            ("images of data set", old.datasets, self.datasets),
        ):
            different += [
                f"{what} {name} were {_show(before[name])} and are {_show(now[name])}"
                for name in now
                if name in before and before[name] != now[name]
            ]
        if different:
            raise InputError(
                f"{folder} holds results that were made otherwise: {'; '.join(different)}. "
                "Wanted the same settings to go on, or another folder"
            )
        return EvaluationRecord(
            self.settings, {**old.models, **self.models}, {**old.datasets, **self.datasets}
        )


class ScoreLog:
    """The scores of one folder, to be added to. Use `open_log`.

    Attributes:
        folder: where they are.
        record: what they are about.
    """

    def __init__(self, folder: Path, record: EvaluationRecord) -> None:
        self.folder = folder
        self.record = record
        self._finished: dict[tuple[str, str, str], int] = {}
        self._restore()

    def num_objects(self, model: str, dataset: str, image: str) -> int | None:
        """Number of objects that were evaluated on a finished image; None when it is not finished."""
        return self._finished.get((model, dataset, image))

    def append(self, model: str, dataset: str, image: str, scores: Sequence[ObjectScore]) -> None:
        """Add the scores of one image, which then is finished; `FileError` when they cannot be written."""
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        for score in scores:
            writer.writerow(f"{v:.6f}" if isinstance(v, float) else v for v in astuple(score))
        data = rows.getvalue().encode()
        num_objects = len({score.object for score in scores})
        with _writing(self.folder):
            end = _append(self.folder / SCORES, data)
            mark = io.StringIO()
            csv.writer(mark, lineterminator="\n").writerow(
                (model, dataset, image, num_objects, end, zlib.crc32(data))
            )
            # last, and only when the scores have reached the disk: it says that they are all there
            _append(self.folder / FINISHED, mark.getvalue().encode())
        self._finished[model, dataset, image] = num_objects

    def _restore(self) -> None:
        """Forget what an interrupted process wrote of its last image."""
        with _writing(self.folder):
            marks = _read(self.folder / FINISHED, _FINISHED_HEADER)
            scores = _read(self.folder / SCORES, _HEADER)
        whole = marks[: marks.rfind(b"\n") + 1]
        end = len(_HEADER)
        for line in csv.reader(io.StringIO(whole[len(_FINISHED_HEADER) :].decode())):
            model, dataset, image, num_objects, stop, crc = line
            if zlib.crc32(scores[end : int(stop)]) != int(crc) or int(stop) > len(scores):
                raise FileError(
                    f"{self.folder / SCORES} was changed since it was written (at {model}, {dataset}, {image}): "
                    "wanted the file as it was; evaluate into another folder"
                )
            end = int(stop)
            self._finished[model, dataset, image] = int(num_objects)
        with _writing(self.folder):
            os.truncate(self.folder / FINISHED, len(whole))
            os.truncate(self.folder / SCORES, end)


@contextmanager
def open_log(folder: Path, record: EvaluationRecord) -> Iterator[ScoreLog]:
    """Start results in a folder, or go on with those that are there; one process at a time.

    Raises:
        InputError: when the folder holds results that were made otherwise.
        FileError: when it cannot be written, its files were changed by hand, or another process writes there.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise FileError(f"another evaluation is writing to {folder}: wait for it or stop it") from None
    try:
        old = read_record(folder)
        if old is not None:
            record = record.merged_with(old, folder)
        elif (folder / SCORES).exists():
            raise FileError(
                f"{folder} holds {SCORES} but no {SETTINGS}: wanted an empty folder or earlier results"
            )
        write_whole(folder / SETTINGS, json.dumps(record.as_json(), indent=2) + "\n")
        yield ScoreLog(folder, record)
    finally:
        lock.release()


def read_record(folder: Path) -> EvaluationRecord | None:
    """What the results in a folder are about; None when there are none."""
    path = folder / SETTINGS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return EvaluationRecord(content["settings"], content["models"], content["datasets"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(f"cannot read {path}: {error!r}; wanted the file that an evaluation wrote") from error


def read_scores(folder: Path) -> pd.DataFrame:
    """All scores of a folder, one row a mask, columns as in `ObjectScore`, in the order they were written.

    Raises:
        FileError: when there are none, or they cannot be read.
    """
    path = folder / SCORES
    numbers = [name for name in COLUMNS if name not in (*_TEXTS, "mask_prompt")]
    try:
        # names are texts whatever they look like: "001", or a data set called "NA"
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(_TEXTS, str),
            keep_default_na=False,
            na_values={name: ["nan"] for name in numbers},
        )
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a small text file beside, then move it to its place; `FileError` when that fails."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):  # a disk that can only be read refuses this, too
            beside.unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error}") from error


def _append(path: Path, data: bytes) -> int:
    """Add to a file and wait for the disk; the length it has then."""
    with path.open("ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        return stream.tell()


def _read(path: Path, header: bytes) -> bytes:
    """The content of a file that starts with this header; made when it is not there or was torn inside it."""
    content = path.read_bytes() if path.exists() else b""
    if content.startswith(header):
        return content
    if not header.startswith(content):
        raise FileError(
            f"{path} has other columns: got {content.splitlines()[0]!r}, wanted {header.strip()!r}; "
            "evaluate into another folder"
        )
    path.write_bytes(header)
    return header


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot keep results in {folder}: {error}") from error


def _show(value: Any) -> str:
    return json.dumps(value)
