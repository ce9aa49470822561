"""Torch beside a graphics driver: both may bring LLVM, and the wrong one crashes the process.

Mesa's OpenGL (software rendering, many AMD cards) loads its own libLLVM for everybody to see; Triton, which torch
imports, then calls into that one instead of the one built into it, and the process dies with a segmentation fault.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def import_torch() -> None:
    """Import torch; where a driver has loaded LLVM, Triton is first told to prefer its own symbols."""
    if "torch" not in sys.modules and _driver_has_loaded_llvm():
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            with suppress(ImportError):  # torch goes without Triton on many machines
                import_module("triton._C.libtriton")
        finally:
            sys.setdlopenflags(flags)
    import_module("torch")


def _driver_has_loaded_llvm() -> bool:
    if not hasattr(os, "RTLD_DEEPBIND"):
        return False
    try:
        return "libLLVM" in _MAPS.read_text()
    except OSError:
        return False
