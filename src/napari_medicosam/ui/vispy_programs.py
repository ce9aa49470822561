"""What vispy does with shader programs, mended: no crash of the graphics driver, and no program built for nothing.

vispy deletes programs of removed layers while the driver still holds the one that was drawn last. It frees that once
the canvas is resized, and the next drawing calls into nothing: Mesa's software OpenGL dies with a segmentation fault
when layers are removed beside a dock that changes its width. To make no program current is not enough: the driver looks
at that only when something is drawn. So programs are deleted after something else was.

And it builds the programs of a mesh anew whenever its contents change: a shapes layer of napari is two meshes, which
change with each slice that is shown, empty or not. Two such layers cost half of the time to show another slice.
Texts without letters are drawn as others are, and each points or shapes layer has one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_DELETED = "deleted_programs"
"""Where a canvas keeps their handles until then: they go with it."""


@cache
def let_go_of_deleted_programs() -> None:
    """From now on programs are deleted once another one has drawn something; once for the whole process."""
    from vispy.gloo import gl, glir

    program: Any = glir.GlirProgram
    draw = program.draw

    def delete_later(self: Any) -> None:
        self._parser.env.setdefault(_DELETED, []).append(self._handle)

    def draw_and_delete(self: Any, mode: Any, selection: Any, instances: int = 1) -> None:
        draw(self, mode, selection, instances)
        if selection[-1]:  # else nothing was drawn
            for handle in self._parser.env.pop(_DELETED, ()):
                gl.glDeleteProgram(handle)

    program.delete, program.draw = delete_later, draw_and_delete


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


@cache
def draw_no_empty_texts() -> None:
    """From now on a text without a letter is not drawn; once for the whole process.

    Layers of points and shapes bring one each. For nothing to be seen, vispy draws ten letters of a font and builds a
    program, and does some of it again at every slice.
    """
    from vispy.visuals.text import TextVisual

    text: Any = TextVisual
    prepare = text._prepare_draw

    def prepare_letters(self: Any, view: Any) -> Any:
        texts = [self.text] if isinstance(self.text, str) else self.text
        return prepare(self, view) if any(map(len, texts)) else False

    text._prepare_draw = prepare_letters
