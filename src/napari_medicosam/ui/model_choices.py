"""Texts of the form: which models, windows and zooms there are, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_medicosam.core.intensity import WINDOW_PRESETS
from napari_medicosam.ui.key_map import PACKAGE, keys_of, with_keys
from napari_medicosam.weights.catalogue import known_entries
from napari_medicosam.weights.fetch import status

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession
    from napari_medicosam.weights.registry import Entry

_ORIGINS = {
    "bundled": "bundled",
    "cached": "downloaded",
    "package": "installed",
    "ask": "needs a file",
    "own": "yours",
}

WINDOW_HELP = {
    "auto": "what the model was trained with; soft tissue for CT",
    "percentile": "0.5 % to 99.5 % of the volume's intensities",
    "minmax": "darkest to brightest voxel",
    **{
        name: f"width {width:g}, level {level:g} HU: {level - width / 2:g} to {level + width / 2:g}"
        for name, (width, level) in WINDOW_PRESETS.items()
    },
}

ZOOM_HELP = {
    "auto": "small objects are looked at closely, others in the whole slice",
    "never": "always the whole slice: quicker on a slow machine",
    "always": "closely wherever anything is gained",
}

_LOOK_SECONDS = 0.005
"""For counting the slices of an object that is just being changed: the words are not worth more."""


def model_choices() -> list[tuple[str, str, str]]:
    """(name, text, help) of every interactive model for people, their own last; random test weights are left out."""
    entries = [
        entry
        for entry in known_entries()
        if entry.role == "interactive" and entry.spec is not None and entry.source.kind != "seeded"
    ]
    return [(entry.name, f"{entry.name}  ({_origin(entry)})", _help(entry)) for entry in entries]


def _origin(entry: Entry) -> str:
    origin = status(entry)
    if origin == "remote":
        size = f" {entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes else ""
        return f"download{size}"
    return _ORIGINS.get(origin, origin)


def _help(entry: Entry) -> str:
    return f"{entry.title}\nTrained on: {entry.trained_on}\nLicence: {entry.licence}"


def next_step(session: AnnotationSession) -> str:
    """One sentence: what the user can do now."""
    if session.image is None:
        if any(isinstance(layer, Image) for layer in session.viewer.layers):
            return "No image here is 2D, 3D or volumes over time: right-click the layer, Split Stack."
        return "Open a scan (File > Open), or try File > Open Sample > MedicoSAM."
    if session.is_busy:
        return "Working … you can go on meanwhile."
    if session.previewed is not None:
        return "See in the image what goes and what comes, then Apply or Cancel."
    prompts, tool = session.prompts, session.tool
    if session.has_unasked_prompts:
        return "Press Segment when the prompts are complete."
    record, hidden = session.record, session.hidden_layer
    if hidden is not None and (prompts.planes or session.has_mask):
        return f"The layer {hidden.name} is hidden: click its eye."
    if record is not None and record.is_locked:
        return f"{record.name} is locked. Unlock it in the list to change it, or press New."
    if record is not None and record.is_committed:
        return "Press New for another object; a prompt opens this one again."
    if record is not None and not record.is_visible:
        return f"{record.name} is hidden: tick Show in the list."
    if session.slice_index is None:
        return "No slice to click on: go back to 2D (Ctrl+Y in the image)."
    if not prompts.planes:
        return {
            "point+": "Click on the object in the image.",
            "point-": "Click on something that is not the object.",
            "box": "Drag a box around the object in the image.",
            "scribble+": "Draw a stroke along the object in the image.",
            "scribble-": "Draw a stroke along something that is not the object.",
            "lasso+": "Draw around the object in the image.",
            "lasso-": "Draw around something that is not the object.",
        }.get(tool, "Choose Box and drag around the object, or Point + and click on it.")
    then = "Point + and −, Propagate, or Commit." if session.is_3d else "Point + and −, or Commit."
    if session.has_candidates:
        key = " or ".join(keys_of(f"{PACKAGE}:next_candidate")) or "Another mask"
        return f"Wrong part? Press {key}. Or correct with {then}"
    return _after_propagation(session) or f"Correct with {then}"


def _after_propagation(session: AnnotationSession) -> str:
    """What to look at on an object that is on slices nobody has prompted; "" where it is on none or is not counted."""
    reviews = session.review_within(_LOOK_SECONDS) if session.is_3d else ()
    if not reviews or all(one.is_anchor or not one.area for one in reviews):
        return ""
    num_doubtful = sum(bool(one.reasons) for one in reviews)
    if num_doubtful:
        which = "1 slice looks" if num_doubtful == 1 else f"{num_doubtful} slices look"
        press = with_keys("press Next doubtful", "next_doubtful")
        return f"{which} doubtful: {press} and correct, then Propagate again."
    first, last = reviews[0].index, reviews[-1].index
    ends = [end for end, border in ((first, 0), (last, session.num_slices - 1)) if end != border]
    check = {
        0: "It goes through all of them: scroll and correct it",
        1: f"Check the end at slice {ends[0] if ends else first} and correct it",
        2: "Check both ends and correct them",
    }[len(ends)]
    return f"Slices {first} to {last}. {check}, then Propagate again, or New."
