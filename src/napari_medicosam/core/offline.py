"""Whether anything may be fetched from a network."""

from __future__ import annotations

import os

from napari_medicosam.errors import InputError

OFFLINE_VARIABLE = "NAPARI_MEDICOSAM_OFFLINE"


def is_offline() -> bool:
    """Whether `NAPARI_MEDICOSAM_OFFLINE` forbids downloads; `InputError` if it is neither yes nor no."""
    value = os.environ.get(OFFLINE_VARIABLE, "").strip().lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise InputError(f"{OFFLINE_VARIABLE} is {value!r}: wanted 1 or 0")
