"""The record beside a label map of a batch: by it a later run, or another worker, knows what is done."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.cli.prompt_arguments import read_prompts_file
from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medicosam.cli.segment import SegmentOrder

_PREFIX = ".medicosam-batch-"
_LEFTOVER_AGE_S = 24 * 3600.0
"""A folder of an attempt this old has lost its worker."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What `LABELS.json` beside a label map says.

    Attributes:
        order: `order_digest` of what it was made from and how.
        labels_sha256: of the label map's file.
        run: the run that made it.
        report: as `medicosam segment --json` writes it.
    """

    order: str
    labels_sha256: str
    run: str
    report: dict[str, Any]

    @staticmethod
    def path_for(target: Path) -> Path:
        """Where the record of a label map lies."""
        return target.with_name(f"{target.name}.json")

    @classmethod
    def read_for(cls, target: Path) -> BatchRecord | None:
        """The record of a label map; None when there is none, or one that is not ours."""
        try:
            content = json.loads(cls.path_for(target).read_text(encoding="utf-8"))
            return cls(**content)
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    @classmethod
    def of_made(cls, made: Path, order: str, run: str, report: dict[str, Any]) -> BatchRecord:
        """The record of a label map that was just made."""
        return cls(order, _sha256(made), run, report)

    @property
    def detail(self) -> str:
        """In a few words, what was found."""
        objects = self.report.get("objects", [])
        return f"{len(objects)} objects, {sum(one['voxels'] for one in objects)} voxels"

    def fits(self, target: Path) -> bool:
        """Whether the label map is there, bit for bit as it was made."""
        return target.is_file() and _sha256(target) == self.labels_sha256

    def write_for(self, target: Path) -> None:
        """Write it beside the place of the label map, in one step."""
        path = self.path_for(target)
        beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}.part")
        try:
            beside.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise FileError(f"cannot write the record {path}: {error.strerror or error}") from error
        finally:
            with suppress(OSError):  # a disk that can only be read refuses this, too
                beside.unlink(missing_ok=True)


def order_digest(order: SegmentOrder, weights_sha256: str) -> str:
    """sha256 over everything that a label map depends on: image, prompts, weights and settings. It holds no name.

    Of the image and of masks that are prompts, size and time of the last change count, so that thousands of finished
    ones are known again without reading them.

    Raises:
        FileError, InputError: for a prompts file that cannot be read.
    """
    prompts = order.prompts.prompts
    objects = [] if prompts is None else read_prompts_file(prompts).objects
    masks = [] if prompts is None else [prompts.parent / one.mask for one in objects if one.mask]
    how = {
        name: value
        for name, value in asdict(order.how).items()
        if name not in ("device", "embeddings", "model")
    }
    content = {
        "image": _stamp(order.image),
        "weights": weights_sha256,
        "prompts": [order.prompts.point, order.prompts.box, [one.model_dump() for one in objects]],
        "masks": [_stamp(path) for path in masks],
        "how": how,
        "propagation": asdict(order.propagation),
        "clean_up": asdict(order.clean_up),
        "overlap": order.results.overlap,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def attempt_folder(parent: Path, run: str) -> Iterator[Path]:
    """A folder for one attempt, on the disk of its result, removed at the end; a killed worker leaves it."""
    folder = parent / f"{_PREFIX}{run}-{secrets.token_hex(8)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise FileError(f"cannot write to {parent}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_attempts(parents: Iterable[Path], run: str | None) -> None:
    """Remove what killed workers left: of a run that is over, and of any that is a day old."""
    for parent in parents:
        for left in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                is_old = time.time() - left.stat().st_mtime > _LEFTOVER_AGE_S
                if is_old or (run is not None and left.name.startswith(f"{_PREFIX}{run}-")):
                    shutil.rmtree(left, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int] | None:
    """Number, bytes and newest time of the files of an image; None for one that is not on disk."""
    path = path if path.exists() else Path(str(path).rpartition("#")[0] or path)
    files = (
        [path] if path.is_file() else [Path(root, name) for root, _, names in os.walk(path) for name in names]
    )
    states = [file.stat() for file in files]
    return (
        [len(states), sum(one.st_size for one in states), max(one.st_mtime_ns for one in states)]
        if states
        else None
    )
