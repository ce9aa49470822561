"""The sentence on top of the dock: what the user can do now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_medicosam.ui.key_map import PACKAGE, keys_of, with_keys

if TYPE_CHECKING:
    from napari_medicosam.core.object_table import ObjectRecord
    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.ui.session import AnnotationSession

_LOOK_SECONDS = 0.005
"""For counting the slices of an object that is just being changed: the words are not worth more."""

_FIRST = {
    "point+": "Click on the object in the image.",
    "point-": "Click on something that is not the object.",
    "box": "Drag a box around the object in the image.",
    "scribble+": "Draw a stroke along the object in the image.",
    "scribble-": "Draw a stroke along something that is not the object.",
    "lasso+": "Draw around the object in the image.",
    "lasso-": "Draw around something that is not the object.",
}
"""With each tool, before the object has a prompt."""


def next_step(session: AnnotationSession) -> str:
    """One or two sentences."""
    if session.image is None:
        if any(isinstance(layer, Image) for layer in session.viewer.layers):
            return "No image here is 2D, 3D or volumes over time: right-click the layer, Split Stack."
        return "Open a scan (File > Open), or try File > Open Sample > MedicoSAM."
    if session.is_busy and not session.is_only_preparing:
        return "Working … you can go on meanwhile."
    if session.previewed is not None:
        return "See in the image what would be removed and added, then Apply or Cancel."
    if session.has_unasked_prompts:
        if session.is_live:
            return "The last prompts have no mask yet: press Segment to ask for it again."
        return "Press Segment when the prompts are complete."
    record = session.record
    return (record is not None and _in_the_way(session, record)) or _with_prompts(session)


def _in_the_way(session: AnnotationSession, record: ObjectRecord) -> str:
    """What keeps the user from prompting the object, or from seeing it; "" where nothing does."""
    hidden = session.hidden_layer
    if hidden is not None and (session.prompts.planes or session.has_mask):
        return f"The layer {hidden.name} is hidden: click its eye."
    if record.is_locked:
        return f"{record.name} is locked. Unlock it in the list to change it, or press New."
    if record.is_committed:
        return (
            f"{record.name} is finished: press New for another one, or Save labels. A prompt opens it again."
        )
    if not record.is_visible:
        return f"{record.name} is hidden: tick Show in the list."
    if session.slice_index is None:
        return "Prompts need 2D: press Ctrl+Y in the image, or the 2D/3D button below the layer list."
    if not session.is_in_sight:
        return f"{session.image.name if session.image else ''} is not on this slice: move the slider to it."
    return ""


def _with_prompts(session: AnnotationSession) -> str:
    prompts = session.prompts
    if not prompts.planes:
        still = " The model is still loading." if session.is_only_preparing else ""
        return (
            _FIRST.get(session.tool, "Choose Box and drag around the object, or Point + and click on it.")
            + still
        )
    if not session.has_mask:
        return (
            "Nothing is left of this object: other objects, or Overlap (in More settings), keep it out. Undo, or "
            "prompt it elsewhere."
            if prompts.has_positive
            else "Now mark the object itself: drag a Box around it, or click on it with Point +."
        )
    said = _after_propagation(session)
    if said:
        return said
    then = "Point + and −, Propagate, or Commit." if session.is_3d else "Point + and −, or Commit."
    if session.has_candidates:
        key = " or ".join(keys_of(f"{PACKAGE}:next_candidate")) or "Another mask"
        return f"Wrong part? Press {key}. Or correct with {then}"
    return f"Correct with {then}"


def _after_propagation(session: AnnotationSession) -> str:
    """What to look at on an object that is on slices nobody has prompted; "" where it is on none or is not counted."""
    reviews = session.review_within(_LOOK_SECONDS) if session.is_3d else ()
    if not reviews or all(one.is_anchor or not one.area for one in reviews):
        return ""
    if session.was_cut_off:
        return "Stopped before its end: Propagate again for the rest, or correct what is there."
    here = next((one for one in reviews if one.index == session.slice_index), None)
    if here is not None and here.reasons:
        return f"Doubtful: {here.reasons[0]}. Correct it with Point + and −, or press Not here."
    if session.is_corrected:
        return "Propagate again to carry your corrections on, or go on correcting."
    num_doubtful = sum(bool(one.reasons) for one in reviews)
    if num_doubtful:
        which = "1 slice looks" if num_doubtful == 1 else f"{num_doubtful} slices look"
        press = with_keys("press Next doubtful", "next_doubtful")
        return f"{which} doubtful: {press} and correct, then Propagate again."
    return _at_its_ends(session, reviews)


def _at_its_ends(session: AnnotationSession, reviews: tuple[SliceReview, ...]) -> str:
    first, last = reviews[0].index, reviews[-1].index
    ends = [end for end, border in ((first, 0), (last, session.num_slices - 1)) if end != border]
    if len(ends) == 2:
        check = ". Check both ends and correct them"
    elif ends:
        check = f", where the scan ends. Check the end at slice {ends[0]} and correct it"
    else:
        check = ", all of the scan. Scroll through them and correct"
    return f"Slices {first} to {last}{check}, then Propagate again, or New."
