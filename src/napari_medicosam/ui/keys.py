"""Keys. They are napari's own kind of actions, so its preferences list them (Shortcuts) and can change them.

The letters are those that napari leaves free in points, shapes and labels layers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.notifications import show_info

from napari_medicosam.errors import InputError
from napari_medicosam.ui.controls import told
from napari_medicosam.ui.help_panel import HELP_ACTION, toggle_help
from napari_medicosam.ui.key_map import PACKAGE, described, is_registered
from napari_medicosam.ui.series_bar import DONE_NEXT, NEXT, PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.ui.series import SeriesSession
    from napari_medicosam.ui.session import AnnotationSession


def _series_of(session: AnnotationSession) -> SeriesSession:
    if session.series is None or not session.series.items:
        raise InputError(
            "no image series is open in this viewer: open a folder with Plugins > MedicoSAM > Image series first"
        )
    return session.series


def _say_unless(is_done: bool, why_not: str) -> None:
    """A key that is pressed does something, or says why it does not."""
    if not is_done:
        show_info(why_not)


ACTIONS: dict[str, tuple[str, str, Callable[[AnnotationSession], Any]]] = {
    "toggle_sign": ("Q", "toggle + and − of the tool", lambda session: session.toggle_sign()),
    "next_candidate": (
        "W",
        "next of the masks that one click may mean",
        lambda session: _say_unless(
            session.next_candidate(),
            "No other mask to take here: a slice has some where one click is its only prompt",
        ),
    ),
    "segment": (
        "Shift-G",
        "segment the prompts, where the mask does not follow them live",
        lambda session: _say_unless(session.segment(), "Nothing to segment: no prompt waits for its mask"),
    ),
    "propagate": ("G", "propagate the object both ways", lambda session: session.propagate()),
    "mark_absent": (
        "Shift-N",
        "say that the object is not on this slice",
        lambda session: session.mark_absent(),
    ),
    "next_doubtful": (
        "J",
        "go to the next doubtful slice",
        lambda session: _say_unless(
            session.go_to_doubtful() is not None, "There is no doubtful slice to go to"
        ),
    ),
    "outlines": (
        "Shift-O",
        "show masks by their outlines, or filled",
        lambda session: setattr(session, "shows_outlines", not session.shows_outlines),
    ),
    "commit": ("K", "commit the object", lambda session: session.commit()),
    "new_object": ("N", "commit the object and begin another one", lambda session: session.new_object()),
    "undo": ("U", "undo the last step", lambda session: session.undo()),
    "redo": ("Shift-U", "redo what was undone last", lambda session: session.redo()),
    NEXT: (
        "Alt-Right",
        "image series: save, and open the next image",
        lambda session: _series_of(session).next(),
    ),
    PREVIOUS: (
        "Alt-Left",
        "image series: save, and open the image before",
        lambda session: _series_of(session).previous(),
    ),
    DONE_NEXT: (
        "Alt-Enter",
        "image series: save, mark the image as done, and open the next one",
        lambda session: _series_of(session).mark_done(go_on=True),
    ),
    HELP_ACTION: ("H", "show all keys and mouse gestures, or hide them", toggle_help),
}
"""Key, what it does, and how."""

_WITHOUT_IMAGE = frozenset({NEXT, PREVIOUS, DONE_NEXT, HELP_ACTION})


def register_keys(find_session: Callable[[Any], AnnotationSession | None]) -> None:
    """Make the actions known to napari, once; a key that the user chose in the preferences replaces ours.

    Args:
        find_session: the session of a viewer, None for one without.
    """
    chosen = get_settings().shortcuts.shortcuts
    for name, (key, text, act) in ACTIONS.items():
        full_name = f"{PACKAGE}:{name}"
        if is_registered(full_name):
            continue
        run = partial(_run, find_session, act, needs_image=name not in _WITHOUT_IMAGE)
        action_manager.register_action(full_name, _command(full_name, run), described(text), ViewerModel)
        for shortcut in chosen.get(full_name, [key]):
            action_manager.bind_shortcut(full_name, shortcut)


def _command(name: str, run: Callable[[Any], None]) -> Callable[[Any], None]:
    """A function, as napari asks for its name."""

    def command(viewer: ViewerModel) -> None:
        run(viewer)

    command.__name__ = name
    return command


def _run(
    find_session: Callable[[Any], AnnotationSession | None],
    act: Callable[[AnnotationSession], Any],
    viewer: Any,
    *,
    needs_image: bool = True,
) -> None:
    session = find_session(viewer)
    if session is not None and (session.image is not None or not needs_image):
        with told():
            act(session)
