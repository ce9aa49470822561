"""Sessions made without a window."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable
from napari_medicosam.core.session_state import (
    ImageReference,
    ModelUse,
    SavedSession,
    SessionState,
    TimeState,
)
from napari_medicosam.io.session_files import write_session
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.zoom import ZoomRule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.core.intensity import IntensityMapping


def save_session(
    path: Path,
    volumes: Sequence[NDArray],
    labels_tzyx: NDArray,
    *,
    open_objects: Sequence[int] = (),
    mapping: IntensityMapping | None = None,
    window: str = "auto",
    file: str = "",
) -> Path:
    """Write a session on an image, (z, y, x[, 3]) a time point; the objects are the labels, committed but for some."""
    times = []
    for time, labels in enumerate(labels_tzyx):
        table = ObjectTable()
        for object_id in np.unique(labels[labels > 0]).tolist():
            is_committed = object_id not in open_objects
            table = table.with_record(ObjectRecord(object_id, f"{object_id}", is_committed=is_committed))
        times.append(TimeState(time, table.with_current(max(table.records))))
    is_open = np.isin(labels_tzyx, open_objects)
    shape = (len(volumes), *volumes[0].shape[:3])
    state = SessionState(
        ImageReference(shape, str(volumes[0].dtype), sha256=image_digest(volumes), file=file),
        ModelUse(
            "medicosam_lite",
            window,
            mapping=mapping,
            zoom=asdict(ZoomRule()),
            propagation=asdict(PropagationSettings()) | {"mode": "box"},
        ),
        tuple(times),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_session(path, SavedSession(state, np.where(is_open, 0, labels_tzyx).astype(np.uint16), is_open))
    return path
