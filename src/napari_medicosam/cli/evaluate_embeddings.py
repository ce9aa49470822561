"""`medicosam-evaluate embeddings`: a picture of what the image encoders of several models see."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.progress import track

from napari_medicosam.cli import options
from napari_medicosam.cli.console import download_progress, notes, results
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.io.samples import Sample


def embeddings(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Annotated images: a data set, or a folder of data sets.")
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="A name, or a checkpoint file. Repeatable.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: PNG, SVG or PDF.")],
    images: Annotated[int, typer.Option(min=1, help="Number of images, evenly from all that are found.")] = 4,
    device: options.Device = None,
) -> None:
    """Show the image embeddings of models side by side, their three main components as colours.

    medicosam-evaluate embeddings DATA --model medicosam_lite --model RUN/best.safetensors -o embeddings.png
    """
    if find_spec("matplotlib") is None:
        raise InputError("the picture needs matplotlib, which is not installed: pip install matplotlib")
    from napari_medicosam.evaluation.embedding_pca import draw_embedding_pca
    from napari_medicosam.io.replacing import check_target
    from napari_medicosam.io.sample_sets import find_samples

    check_target(output, overwrite=True)
    chosen = spread(find_samples(data).samples, images)
    pictures = [sample.load().image for sample in chosen]
    by_model = {name: _encode(name, pictures, device) for name in dict.fromkeys(model)}
    captions = [f"{sample.dataset} {sample.sample_id}" for sample in chosen]
    results.print(f"wrote {draw_embedding_pca(pictures, by_model, output, captions)}", markup=False)


def spread(samples: Sequence[Sample], number: int) -> list[Sample]:
    """At most `number` samples: of each data set in turn, and within one evenly from first to last."""
    by_dataset: dict[str, list[Sample]] = {}
    for sample in samples:
        by_dataset.setdefault(sample.dataset, []).append(sample)
    groups = list(by_dataset.values())
    if len(groups) > number:
        places = np.linspace(0, len(groups) - 1, number).round().astype(int)
        groups = [groups[place] for place in places]
    chosen: list[Sample] = []
    for place, group in enumerate(groups):
        share = number // len(groups) + (place < number % len(groups))
        places = np.linspace(0, len(group) - 1, min(share, len(group))).round().astype(int)
        chosen += [group[place] for place in places]
    return chosen


def _encode(
    name: str, pictures: Sequence[NDArray[np.uint8]], device: str | None
) -> list[NDArray[np.float32]]:
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.predict.encoder import SliceEncoder
    from napari_medicosam.weights.loading import load_weights

    with download_progress(name) as progress:
        loaded = load_weights(name, device, progress)
    encoder = SliceEncoder(loaded, IntensityMapping("identity"))
    return [
        encoder.encode(picture)
        for picture in track(pictures, description=loaded.name, console=notes, transient=True)
    ]
