"""An encoder exported to OpenVINO by a process of its own.

OpenVINO holds Python's lock for a third of a second while it converts, and a window of the same process stands still.
The process that is started is told nothing but the folder that it works in: the weights lie there meanwhile.
"""

from __future__ import annotations

import os
import subprocess  # nosec B404: our own command, no shell
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.models.checkpoints import load_checkpoint, save_model
from napari_medicosam.models.openvino_runtime import export_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from segment_anything.modeling import Sam

LIMIT_SECONDS = 900.0
"""What a process may take: 10 s are usual for a TinyViT, 100 s for a ViT-b, and machines may be busy."""

_LOOK_SECONDS = 0.1
_NICENESS = 5
_WEIGHTS = "weights.safetensors"


def export_in_process(sam: Sam, folder: Path, watch: Callable[[], None]) -> None:
    """As `export_graph`, by a new Python process, for which the calling thread waits without Python's lock.

    Args:
        sam: a model of a listed architecture; its image encoder is exported.
        folder: an existing one that only the user can read; weights lie in it meanwhile.
        watch: called ten times a second; what it raises ends the process and goes through.

    Raises:
        OSError: when no process can be started.
        subprocess.SubprocessError: when it fails, or takes longer than `LIMIT_SECONDS`.
        CheckpointError: when the weights cannot be written.
    """
    weights = folder / _WEIGHTS
    try:
        save_model(sam, weights)
        _run(_command(), folder, watch)
    finally:
        weights.unlink(missing_ok=True)


def main() -> None:
    """Export the encoder whose weights lie in the working folder, into that folder: all that the process does."""
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(_NICENESS)  # a window waits for its turn, too
    encoder = load_checkpoint(_WEIGHTS).image_encoder
    export_graph(encoder, encoder.img_size, Path())


def _command() -> list[str]:
    """Python runs this module; in a program that has Python built in, that program would start again."""
    python = Path(sys.executable or "")
    if getattr(sys, "frozen", False) or not python.name.lower().startswith("python"):
        raise FileNotFoundError("there is no Python to start")
    return [str(python), "-P", "-m", "napari_medicosam.models.graph_process"]  # -P: nothing from the folder


def _run(command: list[str], folder: Path, watch: Callable[[], None]) -> None:
    process = subprocess.Popen(  # nosec B603
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    end = time.monotonic() + LIMIT_SECONDS
    try:
        while process.poll() is None:
            watch()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(command, LIMIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


if __name__ == "__main__":
    main()
