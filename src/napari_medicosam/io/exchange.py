"""Two folders swapped in one step, so that a kill or a power cut leaves either both as they were or both swapped."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_AT_FDCWD = -100
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


def exchange(one: Path, other: Path) -> bool:
    """Swap two files or folders of one file system; False when that cannot be done, and then nothing has changed."""
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "linux":
            failed = ctypes.CDLL(None).renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _SWAP)
        elif sys.platform == "darwin":
            failed = ctypes.CDLL(None).renamex_np(first, second, _SWAP)
        else:
            return False
    except AttributeError:  # a C library without it
        return False
    return not failed
