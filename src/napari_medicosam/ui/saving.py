"""What was made goes to files: labels, measurements, effort. Written on the worker, from copies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing, layers
from napari_medicosam.ui.file_tasks import save_labels, save_measurements, save_table
from napari_medicosam.ui.laying import opened_affine_of
from napari_medicosam.ui.spacing import spacing_zyx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_medicosam.ui.annotated_images import AnnotatedImages
    from napari_medicosam.ui.workbench import Workbench


class Saving:
    """Saves the image that is shown.

    Args:
        bench: of the session.
        images: all that was annotated.
    """

    def __init__(self, bench: Workbench, images: AnnotatedImages) -> None:
        self._bench = bench
        self._images = images

    def label_map(self) -> NDArray[Any]:
        """A copy of the label map of the layer, with the objects that are being edited.

        Raises:
            InputError: when nothing was segmented yet.
        """
        annotation = self._bench.wanted()
        known = annotation.ours.label_map("labels")
        if known is None:
            raise InputError("nothing to save: segment an object first")
        times = self._images.times_of(annotation.image)
        for one in times:
            one.committed.put_back_locked(one.table)
        label_map = np.array(known)
        for one in times:
            committing.put_into(one, layers.voxels(label_map, one.time))
        return label_map

    def labels(self, path: Path, noted: Callable[[], Callable[[], None]]) -> None:
        """Write the label map with the geometry of the image; the object being edited is in it.

        Args:
            path: of the file.
            noted: called when the masks were copied; what it returns is called when they are written.

        Raises:
            InputError: when nothing was segmented yet.
        """
        label_map = self.label_map()
        annotation = self._bench.wanted()
        self._bench.layers.make_missing()
        layer: Any = annotation.labels
        _, meta, _ = layer.as_layer_data_tuple()
        meta |= _place_of(annotation.image)
        names = {record.object_id: record.name for record in annotation.table.records.values()}
        self._write(path, partial(save_labels, path, label_map, meta, names), noted())

    def measurements(self, path: Path, class_name: Callable[[int | None], str]) -> None:
        """Write a table of all objects of the shown time point.

        Raises:
            InputError: when nothing was segmented yet.
        """
        annotation = self._bench.wanted()
        label_map = layers.voxels(self.label_map(), annotation.time)
        image = annotation.volume if annotation.volume.ndim == 3 else None
        records = annotation.table.records.values()
        names = {record.object_id: record.name for record in records}
        classes = {record.object_id: class_name(record.class_id) for record in records}
        spacing = spacing_zyx(annotation.image)
        task = partial(save_measurements, path, label_map, image, spacing, (names, classes))
        self._write(path, task)

    def effort(self, path: Path) -> None:
        """Write what each object cost.

        Raises:
            InputError: when nothing was done yet.
        """
        annotation = self._bench.wanted()
        names = {record.object_id: record.name for record in annotation.table.records.values()}
        rows = annotation.effort.table(names)
        if not rows:
            raise InputError("nothing to save: segment an object first")
        self._write(path, partial(save_table, path, rows))

    def _write(self, path: Path, task: Callable[[], str], then: Callable[[], None] = lambda: None) -> None:
        def written(where: str) -> None:
            then()
            self._bench.events.saved.emit(where)

        self._bench.runner.submit(lambda report: task(), written, key=("save", path), is_kept=True)


def _place_of(image: Image) -> dict[str, Any]:
    """Where an image lies, as attributes of a layer; ours lie elsewhere while slices that are turned are painted."""
    _, meta, _ = image.as_layer_data_tuple()
    place = {name: meta[name] for name in (*layers.MOVES, "units")}
    return place | {"affine": opened_affine_of(image)}
