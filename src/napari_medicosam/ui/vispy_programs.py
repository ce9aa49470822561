"""Layers are removed without a crash of the graphics driver.

vispy remembers which shader program is current, and deletes programs of removed layers without letting go of that one.
The driver frees it all the same once the canvas is resized, and the next drawing calls into nothing: Mesa's software
OpenGL dies with a segmentation fault when an image is replaced by the next one beside a dock that changes its width.
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
