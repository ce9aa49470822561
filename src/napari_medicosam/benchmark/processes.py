"""What takes a process of its own: how fast commands start, and how much memory they need."""

from __future__ import annotations

import subprocess  # nosec B404: our own commands, no shell
import sys
from typing import TYPE_CHECKING

import numpy as np
import zarr

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medicosam.benchmark.scene import Scene

_COMMAND = "from napari_medicosam.cli.app import main; main()"

_IMPORT = """
import time
start = time.perf_counter()
import napari_medicosam
print(time.perf_counter() - start)
"""

_LOAD = "import sys; from napari_medicosam import load_model; load_model(sys.argv[1], sys.argv[2])"

# A process that a large one started inherits the peak of `getrusage`, so Linux is asked about the process itself.
_PEAK = """
import sys
from pathlib import Path
from napari_medicosam.cli.app import app
app(sys.argv[1:], standalone_mode=False)
status = Path("/proc/self/status")
if status.is_file():
    print(1024 * int(status.read_text().split("VmHWM:")[1].split()[0]))
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else 1024 * peak)
"""


def start_python() -> None:
    """An interpreter that does nothing: what every command costs at least."""
    _run("pass")


def start_command() -> None:
    """`medicosam --help`."""
    _run(_COMMAND, "--help")


def load_in_process(model: str, device: str) -> None:
    """A process that loads a model and ends."""
    _run(_LOAD, model, device)


def import_seconds() -> float:
    """Of `import napari_medicosam` in a new process, as it measures it."""
    return float(_run(_IMPORT))


def embedding_peak_bytes(image: Path, store: Path, model: str, device: str, num_slices: int) -> float:
    """Peak memory of `medicosam embed` on the first slices of an image.

    Args:
        image: any that the command takes.
        store: folder for the embeddings.
        model: name, or checkpoint file.
        device: of torch.
        num_slices: that are embedded.
    """
    words = ["embed", str(image), "--embeddings", str(store), "--model", model, "--device", device]
    return float(_run(_PEAK, *words, "--z-range", f"0,{num_slices}").splitlines()[-1])


def write_large_image(path: Path, shape_zyx: tuple[int, int, int], scene: Scene) -> None:
    """An OME-Zarr 0.5 of one level, from the scene's slices again and again; a few slices are in memory at a time."""
    depth = 16
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}]
    attributes = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    zarr.create_group(path, zarr_format=3, attributes=attributes)
    rows, columns = (min(n, 256) for n in shape_zyx[1:])
    array = zarr.create_array(path, name="0", shape=shape_zyx, dtype="int16", chunks=(depth, rows, columns))
    z, y, x = scene.array.shape
    inner = np.ix_(np.arange(shape_zyx[1]) % y, np.arange(shape_zyx[2]) % x)
    for start in range(0, shape_zyx[0], depth):
        stop = min(start + depth, shape_zyx[0])
        array[start:stop] = np.stack([scene.array[number % z][inner] for number in range(start, stop)])


def _run(code: str, *words: str) -> str:
    """What a Python process prints.

    Raises:
        InputError: with what it said last, when it fails.
    """
    words_of_process = [sys.executable, "-c", code, *words]
    done = subprocess.run(words_of_process, capture_output=True, text=True, check=False)  # nosec B603
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"a process of the benchmark failed: {said[-1]}")
    return done.stdout
