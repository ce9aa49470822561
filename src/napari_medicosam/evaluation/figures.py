"""The figures of an interactive evaluation, those of the MedicoSAM paper and a few that say where a model is weak."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.evaluation import figures_models, figures_objects
from napari_medicosam.evaluation.figure_data import prepare_scores
from napari_medicosam.io.figure_style import STYLE, save_figure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from pandas import DataFrame

    from napari_medicosam.evaluation.figure_data import Scores

FIGURES: dict[str, Callable[[Scores], Figure | None]] = {
    "corrections_bars": figures_models.correction_bars,
    "corrections_curves": figures_models.dice_curves,
    "corrections_surface_distance": figures_models.surface_distance_curves,
    "datasets": figures_models.datasets,
    "difference_to_{reference}": figures_models.difference_to_reference,
    "seeds": figures_models.seeds,
    "mask_prompt": figures_models.mask_prompt,
    "zoom_datasets": figures_objects.zoom_by_dataset,
    "zoom_object_size": figures_objects.zoom_by_size,
    "object_size": figures_objects.object_size,
    "calibration": figures_objects.iou_calibration,
}
"""Name of the file -> what draws it; None says that its data are not there."""


def draw_figures(rows: DataFrame, folder: Path, reference_model: str | None = None) -> list[Path]:
    """Draw every figure that the scores have data for, as PNG and SVG.

    Overall values are means over data sets of means over objects. Models are compared on the objects that all of them
    were asked about, in one setting of zoom and mask prompt that the subtitle names (`prepare_scores` says which one).

    Args:
        rows: one mask of one object a row, unique in model, dataset, image, object, seed, start ("point" or "box"),
            zoom ("never", "auto", "always"), mask_prompt (bool) and round (0 after the first prompt, then counting
            corrections); with dice and, for some figures, modality, object_share (0..1), surface_distance (pixels),
            iou and iou_prediction (0..1).
        folder: made when it is not there; files of the same name are replaced.
        reference_model: whose Dice the differences are to; default: the first model.

    Returns:
        The files, in the order of `FIGURES`.

    Raises:
        InputError: for rows that cannot be used, or an unknown reference.
        FileError: for a folder that cannot be written to.
    """
    import matplotlib as mpl

    scores = prepare_scores(rows, reference_model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder}: {error}") from error
    paths: list[Path] = []
    with mpl.rc_context(STYLE):
        for name, draw in FIGURES.items():
            figure = draw(scores)
            if figure is not None:
                reference = re.sub(r"[^\w.-]+", "_", scores.reference or "")
                paths += save_figure(figure, folder, name.format(reference=reference))
    return paths
