"""What the help panel says about the mouse and about napari's own keys, as data."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medicosam.ui.layers import BOXES_NAME, OBJECT_NAME, POINTS_NAME, SCRIBBLES_NAME


@dataclass(frozen=True, slots=True)
class Hint:
    """One line of the help: what to do, and what happens then.

    Attributes:
        does: what happens.
        gesture: what to do with the mouse, "" where a key alone does it.
        action: napari's name for an action, whose key of now is shown before the gesture.
    """

    does: str
    gesture: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Hints under a heading; `note` stands between the two."""

    heading: str
    hints: tuple[Hint, ...]
    note: str = ""


TOOLS = Section(
    "Mouse, by tool",
    (
        Hint("Point: says that this is the object (+), or is not (−)", "click"),
        Hint("Point: moves the image", "drag"),
        Hint("Box: from corner to corner; replaces the box of this slice", "drag"),
        Hint("Scribble: along the object (+), or along what is not (−)", "drag"),
        Hint("Lasso: around the object (+), or around what is not (−)", "drag"),
        Hint("Scribble and Lasso without holding the button: begin, move, end", "click, click"),
        Hint("Ends the stroke or lasso that is being drawn", action="napari:finish_drawing_shape"),
    ),
    "Choose a tool with its button; click the button again to put it away.",
)

CHANGING = Section(
    "Change prompts",
    (
        Hint("Selects clicks, drag moves them", "then click", "napari:activate_points_select_mode"),
        Hint("Removes the selected clicks", action="napari:delete_selected_points"),
        Hint("Selects a box, stroke or lasso, drag moves it", "then click", "napari:activate_select_mode"),
        Hint("Moves single corners", "then drag", "napari:activate_direct_mode"),
        Hint("Removes the selected shapes", action="napari:delete_selected_shapes"),
        Hint("Takes back the last step, or does it again, as Undo and Redo do", "Ctrl+Z, Ctrl+Shift+Z"),
    ),
    f"First choose {POINTS_NAME}, {BOXES_NAME} or {SCRIBBLES_NAME} in the layer list. The mask follows.",
)

BRUSH = Section(
    "Change the mask by hand",
    (
        Hint("Brush", "then drag", "napari:activate_labels_paint_mode"),
        Hint("Eraser", "then drag", "napari:activate_labels_erase_mode"),
        Hint("Fills what is enclosed", "then click", "napari:activate_labels_fill_mode"),
        Hint("Smaller brush", action="napari:decrease_brush_size"),
        Hint("Larger brush", action="napari:increase_brush_size"),
    ),
    f"First choose {OBJECT_NAME} in the layer list. Propagation never changes a slice that you painted.",
)

VIEW = Section(
    "Look around",
    (
        Hint("Moves the image, whichever tool is chosen", "drag while held", "napari:hold_for_pan_zoom"),
        Hint("Zooms", "wheel"),
        Hint("Goes through the slices", "Ctrl + wheel"),
        Hint("One slice back", action="napari:increment_dims_left"),
        Hint("One slice on", action="napari:increment_dims_right"),
        Hint("Next plane: prompts count in the plane that is shown", action="napari:roll_axes"),
        Hint("2D or 3D; prompts are made in 2D", action="napari:toggle_ndisplay"),
        Hint("Whole image", action="napari:reset_view"),
        Hint("Shows the chosen layer, or hides it", action="napari:toggle_selected_visibility"),
    ),
)

REVIEW = Section(
    "Strip of slices",
    (
        Hint("Goes to the slice", "click"),
        Hint("Goes through the slices", "drag"),
        Hint("Says what is known about the slice", "point at it"),
    ),
    "Below: the area. Above, from 0 to 1: how good the model thinks its mask is, and how like the mask is to a slice "
    "beside it. A triangle marks a doubtful slice, a diamond one of yours. Where three planes voted, a third line says "
    "how far they agree.",
)

TABLE = Section(
    "Table of objects",
    (
        Hint("Goes back to the object with its prompts", "click a row"),
        Hint("Changes the name", "double-click it"),
        Hint("Shows, hides or locks the object", "tick"),
        Hint("Is finished: lies in MedicoSAM labels", "green tick"),
    ),
)

CLEAN_UP = Section(
    "Form of Clean up …",
    (
        Hint("Cleans the object as the image shows it", "Enter"),
        Hint("Leaves the object as it is", "Escape"),
    ),
    "While one of its controls is in use.",
)

OUR_HEADING = "Keys of MedicoSAM"
OUR_NOTE = "They work while the image is in use: click into it once after typing elsewhere."

SECTIONS = (TOOLS, CHANGING, BRUSH, VIEW, REVIEW, TABLE, CLEAN_UP)
