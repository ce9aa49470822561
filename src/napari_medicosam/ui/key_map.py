"""Which key napari has for an action now: ours and its own, as the user may have changed them in the preferences.

The only place that reads napari's action manager beyond its public methods; it has none that tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import coerce_keybinding

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "napari-medicosam"
"""What the full names of our actions begin with, "napari-medicosam:undo"."""

_OURS = "MedicoSAM: "


def described(text: str) -> str:
    """What napari's preferences call an action of ours that does `text`."""
    return f"{_OURS}{text}"


def is_registered(name: str) -> bool:
    """True for the full name of an action that napari knows."""
    return name in action_manager._actions


def our_actions() -> dict[str, str]:
    """What each of our actions does, by its full name, in the order they were made known."""
    return {
        name: action.description.removeprefix(_OURS)
        for name, action in action_manager._actions.items()
        if name.startswith(f"{PACKAGE}:")
    }


def keys_of(name: str) -> tuple[str, ...]:
    """Keys of an action in words ("U", "Shift+U"); none when it has none, or is not known.

    Napari's own symbols (␣, ⎋, ⌦) are not known to everybody.
    """
    keys = (coerce_keybinding(key) for key in action_manager._shortcuts.get(name, ()))
    return tuple(key.to_text(use_symbols=False, joinchar="+") for key in keys)


def with_keys(text: str, name: str) -> str:
    """A tooltip, with the keys that an action of ours has now behind it; `name` is without the package."""
    keys = " or ".join(keys_of(f"{PACKAGE}:{name}"))
    return f"{text} ({keys})" if keys else text


def on_keys_changed(call: Callable[..., None]) -> None:
    """Call this method of a widget whenever a key of any action changes; its end ends that."""
    action_manager.events.shortcut_changed.connect(call)
