"""What image encoders see: the three main components of their embeddings as colours (Fig. 5b of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.figure_style import QUIET, STYLE, fold, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_PERCENTILES = (1.0, 99.0)


def crop_padding(embedding: NDArray[np.floating], size_yx: tuple[int, int]) -> NDArray[np.floating]:
    """The part of an embedding that looks at the image and not at the padding below or beside it.

    Args:
        embedding: (C, h, w) of a padded square, h = w.
        size_yx: (rows, columns) of the image.
    """
    rows, columns = (
        int(np.ceil(n * side / max(size_yx))) for n, side in zip(size_yx, embedding.shape[1:], strict=True)
    )
    return embedding[:, : max(rows, 1), : max(columns, 1)]


def embedding_pca(embedding: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours of an embedding: its first three principal components are red, green and blue.

    Fitted on this one embedding alone, which shows the most of it. So a colour means something else in every picture:
    compare where colours change, not which ones they are. Each component is stretched from its 1st to its 99th
    percentile; its sign, which means nothing, is the one that makes its largest weight positive.

    Args:
        embedding: (C, h, w), without padding (`crop_padding`).

    Returns:
        uint8 (h, w, 3); 127 where there is nothing to tell apart.

    Raises:
        InputError: for another shape, or values that are not finite.
    """
    if embedding.ndim != 3 or embedding.size == 0:
        raise InputError(f"an embedding must be (channels, rows, columns), got shape {embedding.shape}")
    tokens = embedding.reshape(len(embedding), -1).T.astype(np.float64)
    if not np.isfinite(tokens).all():
        raise InputError("the embedding holds values that are not finite")
    rounding = 1e-12 * np.mean(np.sum(tokens**2, axis=1))  # a variance that small tells nothing apart
    tokens -= tokens.mean(axis=0)
    values, vectors = np.linalg.eigh(tokens.T @ tokens / len(tokens))
    order = np.argsort(values)[::-1][:3]
    weights = vectors[:, order]
    weights = weights * np.sign(weights[np.abs(weights).argmax(axis=0), np.arange(len(order))])
    components = np.full((len(tokens), 3), 0.5)
    for number, component in enumerate((tokens @ weights).T):
        low, high = np.percentile(component, _PERCENTILES)
        if values[order[number]] > rounding and high > low:
            components[:, number] = np.clip((component - low) / (high - low), 0, 1)
    colours = (components * 255).astype(np.uint8)
    return colours.reshape(*embedding.shape[1:], 3)


def draw_embedding_pca(
    images: Sequence[NDArray[np.uint8]],
    embeddings_by_model: Mapping[str, Sequence[NDArray[np.floating]]],
    path: Path,
    captions: Sequence[str] | None = None,
) -> Path:
    """Draw images in columns, with the embeddings of each model in a row under them.

    Args:
        images: uint8 (rows, columns) or (rows, columns, 3), at least one.
        embeddings_by_model: for each model (C, h, w) an image, as the encoder gives them, padding included.
        path: PNG, SVG or PDF to write; replaced if it is there.
        captions: a line an image.

    Returns:
        `path`.

    Raises:
        InputError: for no images, or another number of embeddings or captions than images.
        FileError: for a file that cannot be written.
    """
    import matplotlib as mpl

    _check_numbers(images, embeddings_by_model, captions)
    cell, gap = 1.75, 0.55
    names = list(embeddings_by_model)
    width = gap + max(cell * len(images), 4.5)
    with mpl.rc_context(STYLE):
        figure = new_figure(
            width,
            (1 + len(names)) * cell + 0.2,
            "Image embeddings",
            "The three main components of each embedding as red, green and blue. Fitted to each picture for itself: "
            "compare where colours change, not the colours.",
        )
        grid = figure.subplots(1 + len(names), len(images), squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        for column, image in enumerate(images):
            grid[0, column].imshow(image, cmap="gray", vmin=0, vmax=255)
            if captions is not None:
                grid[0, column].set_title(fold(captions[column], 20), size=7.5, weight="normal", color=QUIET)
            for row, name in enumerate(names, start=1):
                size_yx = image.shape[0], image.shape[1]
                colours = embedding_pca(crop_padding(embeddings_by_model[name][column], size_yx))
                extent = (0, size_yx[1], size_yx[0], 0)  # a token covers a square of pixels
                grid[row, column].imshow(colours, extent=extent, interpolation="nearest")
        for row, name in enumerate(["image", *names]):
            grid[row, 0].set_ylabel(fold(name), weight="bold")
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise FileError(f"cannot write the figure {path}: {error}") from error
    return path


def _check_numbers(
    images: Sequence[NDArray[np.uint8]],
    embeddings_by_model: Mapping[str, Sequence[NDArray[np.floating]]],
    captions: Sequence[str] | None,
) -> None:
    if not images or not embeddings_by_model:
        raise InputError("embeddings are drawn of at least one image and one model")
    lists = {**embeddings_by_model, **({} if captions is None else {"the captions": captions})}
    for name, items in lists.items():
        if len(items) != len(images):
            raise InputError(f"wanted one for each of {len(images)} images, got {len(items)} of {name}")
