"""Writes with every kind of writer of ours while files may not grow: `python limited_disk.py FOLDER BYTES`.

The limit is the operating system's own (RLIMIT_FSIZE), so the write that fails is a real one in the middle of a file.
What each writer says goes to stdout as a line of JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.core.geometry import Geometry, SlicePlane
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.label_classes import LabelClass, LabelClasses
from napari_medicosam.errors import MedicoSamError
from napari_medicosam.io.label_class_files import write_label_classes
from napari_medicosam.io.volumes import Volume, write_labels
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import save_model
from napari_medicosam.models.specs import get_spec

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (8, 40, 50)
LABELS = np.random.default_rng(0).integers(0, 250, SHAPE).astype(np.uint8)
NAMES = (
    "a.nii.gz",
    "a.nii",
    "a.nrrd",
    "a.mha",
    "a.tif",
    "a.png",
    "classes.json",
    "model.pth",
    "model.safetensors",
)


def writers(folder: Path) -> dict[str, Callable[[], object]]:
    """By the name of what they write. Called before the limit holds."""
    like = Volume(np.zeros(SHAPE, np.uint8), Geometry.from_spacing(SHAPE))
    flat = Volume(np.zeros((1, 40, 50), np.uint8), Geometry.from_spacing((1, 40, 50)), is_2d=True)
    classes = LabelClasses(tuple(LabelClass(n, f"class {n}", (n % 256, 0, 0)) for n in range(1, 300)))
    model = build_model("sam_test", seed=0)

    def labels(name: str) -> Callable[[], object]:
        image = flat if name.endswith(".png") else like
        return lambda: write_labels(folder / name, LABELS[: len(image.array)], image, overwrite=True)

    found: dict[str, Callable[[], object]] = {name: labels(name) for name in NAMES[:6]}
    found["classes.json"] = lambda: write_label_classes(folder / "classes.json", classes, overwrite=True)
    for name in NAMES[7:]:
        found[name] = lambda name=name: save_model(model, folder / name, overwrite=True)
    spec = replace(get_spec("sam_test"), grid_size=16)  # 16 KiB a slice
    key = EmbeddingKey(spec, "ab" * 32, IntensityMapping("identity"))
    store = ZarrEmbeddingStore(folder / "embeddings", key, SHAPE)
    embedding = np.random.default_rng(0).standard_normal(spec.embedding_shape).astype(np.float32)
    found["embeddings"] = lambda: store.put(SlicePlane(0, 1), slice_digest(LABELS[1]), embedding)
    return found


def main() -> None:
    found = writers(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails, and does not end the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    for name, write in found.items():
        try:
            write()
            said = "written"
        except MedicoSamError as error:
            said = f"{type(error).__name__}: {error}"
        sys.stdout.write(json.dumps([name, said]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
