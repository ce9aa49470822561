"""Which part of each slice of a label map was written since somebody last asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from napari_medicosam.core.boxes import VoxelBox


class TouchedSlices:
    """Rectangles by number of the z-slice: it never grows larger than the volume has slices."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}

    def add(self, box: VoxelBox) -> None:
        """Voxels were written in this part of the volume."""
        (_, y0, x0), (_, y1, x1) = box.start_zyx, box.stop_zyx
        here = Region(y0, x0, y1, x1)
        for z in box.planes(0):
            before = self._regions.get(z)
            self._regions[z] = here if before is None else before.union(here)

    def take(self) -> dict[int, Region]:
        """What was written since this was asked last."""
        taken, self._regions = self._regions, {}
        return taken
