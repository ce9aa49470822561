"""Python's search for garbage, kept from running where all that is made stays."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def nothing_collected() -> Iterator[None]:
    """No thread looks for garbage meanwhile, and what was made counts as looked at.

    For imports: torch, OpenVINO and what they need are hundreds of thousands of objects, among which Python looks for
    garbage every now and then. It holds its lock meanwhile, for a third of a second and more, and the window stands
    still.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what somebody else has frozen stays frozen
            gc.freeze()  # both together make everything old, for which nothing has to be looked at
            gc.unfreeze()
        gc.enable()
