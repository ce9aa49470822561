"""What vispy does with shader programs, mended: no crash of the graphics driver, and no program built for nothing.

vispy remembers which shader program is current, and deletes programs of removed layers without letting go of that one.
The driver frees it all the same once the canvas is resized, and the next drawing calls into nothing: Mesa's software
OpenGL dies with a segmentation fault when an image is replaced by the next one beside a dock that changes its width.

And it builds the programs of a mesh anew whenever its contents change: a shapes layer of napari is two meshes, which
change with each slice that is shown, empty or not. Two such layers cost half of the time to show another slice.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def let_go_of_deleted_programs() -> None:
    """From now on no program is current while it is deleted; once for the whole process."""
    from vispy.gloo import glir

    program: Any = glir.GlirProgram
    delete = program.delete

    def deactivate_and_delete(self: Any) -> None:
        self.deactivate()
        delete(self)

    program.delete = deactivate_and_delete


@cache
def keep_programs_of_meshes() -> None:
    """From now on a mesh with other contents is drawn by the program that it has; once for the whole process."""
    from vispy.visuals.mesh import MeshVisual

    mesh: Any = MeshVisual
    build = mesh._build_color_transform
    kept: list[Any] = []

    def build_once(self: Any, colors: Any) -> Any:
        """Vispy compares functions by identity, and another one is another program; colours pass through all alike."""
        if colors.ndim == 2 and colors.shape[1] == 1:
            return build(self, colors)  # values, by a colour map of the mesh's own
        if not kept:
            kept.append(build(self, colors))
        return kept[0]

    mesh._build_color_transform = build_once
