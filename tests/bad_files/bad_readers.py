"""Runs the reader of each bad file, in a process that may crash: `python bad_readers.py < lines of JSON`.

A line of input is {"name", "reader", "path"}. Before a file is touched its name is printed, afterwards what became of
it, as a line of JSON. A reader that takes more than a minute ends the process with SIGALRM.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import MedicoSamError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 60
ADDRESS_SPACE = 2 << 30
"""Beyond what the process has when it begins: a header that lies must not get the memory that it asks for."""


def read_volume(path: Path) -> str:
    import numpy as np

    from napari_medicosam.io.volumes import read_volume

    volume = read_volume(path)
    digest = hashlib.sha256(volume.geometry.affine_ras.tobytes())
    # Slice by slice, as it is looked at: what is read lazily may be larger than any memory.
    for index in range(min(len(volume.array), 16)):
        digest.update(np.ascontiguousarray(volume.array[index]))
    return digest.hexdigest()


def read_pair(path: Path) -> str:
    return read_volume(path / "a.hdr")


def read_times(path: Path) -> str:
    from napari_medicosam.io.over_time import read_over_time

    digest = hashlib.sha256()
    for volume in read_over_time(path):
        digest.update(volume.array)
    return digest.hexdigest()


def read_weights(path: Path) -> str:
    from napari_medicosam.models.checkpoints import load_checkpoint

    load_checkpoint(path)
    return "model"


def read_label_classes(path: Path) -> str:
    from napari_medicosam.io.label_class_files import read_label_classes

    return repr(read_label_classes(path))


def read_registry(path: Path) -> str:
    from napari_medicosam.weights.registry import read_registry

    return repr(read_registry(path))


def read_own_model(path: Path) -> str:
    from napari_medicosam.weights.own_models import _read_record

    return repr(_read_record(path))


def read_series_state(path: Path) -> str:
    from napari_medicosam.io.series_state import read_state

    return repr(read_state(path))


def read_session(path: Path) -> str:
    from napari_medicosam.io.session_files import read_session

    return _digest_of_session(read_session(path))


def read_journal(path: Path) -> str:
    from napari_medicosam.io.session_journal import read_journal

    return _digest_of_session(read_journal(path))


def _digest_of_session(session: Any) -> str:
    return hashlib.sha256(
        repr(session.state).encode() + session.labels.tobytes() + session.edited.tobytes()
    ).hexdigest()


def read_description(path: Path) -> str:
    from napari_medicosam.io.data_descriptions import read_description

    folder = path.with_suffix("")
    folder.mkdir()
    (folder / "dataset.json").write_bytes(path.read_bytes())
    return repr(read_description(folder))


def read_prompts(path: Path) -> str:
    from napari_medicosam.cli.prompt_arguments import objects_from_file

    return repr(objects_from_file(path, _image(), 0))


@cache
def _image() -> Any:
    import numpy as np

    from napari_medicosam.core.geometry import Geometry
    from napari_medicosam.io.volumes import Volume

    return Volume(np.zeros((9, 10, 11), np.int16), Geometry.from_spacing((9, 10, 11)))


READERS: dict[str, Callable[[Path], str]] = {
    "volume": read_volume,
    "pair": read_pair,
    "times": read_times,
    "weights": read_weights,
    "label_classes": read_label_classes,
    "registry": read_registry,
    "own_model": read_own_model,
    "series_state": read_series_state,
    "session": read_session,
    "journal": read_journal,
    "description": read_description,
    "prompts": read_prompts,
}


def outcome_of(reader: str, path: Path) -> dict[str, Any]:
    """What became of one file: `read` with a digest, `refused` with a message, or `error` with a traceback."""
    _forget_peak()
    before = _memory("VmRSS")
    try:
        found: dict[str, Any] = {"outcome": "read", "digest": READERS[reader](path)}
    except MedicoSamError as error:
        found = {"outcome": "refused", "message": str(error)}
    except BaseException:
        found = {"outcome": "error", "message": traceback.format_exc()}
    return {**found, "peak": _memory("VmHWM") - before}


def _memory(field: str) -> int:
    """Bytes, as Linux counts them; 0 elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _limit() -> Callable[[int], object]:
    """Limit the memory; the function that starts the clock for one file."""
    try:
        import resource
        import signal
    except ImportError:  # Windows
        return lambda seconds: None
    if _memory("VmSize"):
        limit = _memory("VmSize") + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return signal.alarm


def main() -> None:
    lines = [json.loads(line) for line in sys.stdin]
    out = sys.stdout
    for line in lines:  # everything is imported, and every lazy table made, before memory is counted
        if line.get("warm_up"):
            outcome_of(line["reader"], Path(line["path"]))
    start_clock = _limit()
    for line in lines:
        out.write(json.dumps({"begins": line["name"]}) + "\n")
        out.flush()
        start_clock(TIMEOUT_S)
        found = outcome_of(line["reader"], Path(line["path"]))
        start_clock(0)
        out.write(json.dumps({"name": line["name"], **found}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
