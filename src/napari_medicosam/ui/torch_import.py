"""Torch beside a graphics driver: both may bring LLVM, and the wrong one crashes the process.

Mesa's OpenGL (software rendering, many AMD cards) loads its own libLLVM for everybody to see; Triton, which torch
imports, then calls into that one instead of the one built into it, and the process dies with a segmentation fault.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_LARGEST = ("libtorch_cuda.so", "libtorch_cpu.so")
"""Of torch's libraries, hundreds of MB, and not linked against Python; the first brings the second and CUDA's own."""


def import_torch() -> None:
    """Import torch; where a driver has loaded LLVM, Triton is first told to prefer its own symbols.

    Torch that somebody else has imported before the driver came may still be without Triton.
    """
    if "triton._C.libtriton" not in sys.modules and _driver_has_loaded_llvm():
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            with suppress(ImportError):  # torch goes without Triton on many machines
                import_module("triton._C.libtriton")
        finally:
            sys.setdlopenflags(flags)
    if "torch" not in sys.modules:
        _load_without_lock()
    import_module("torch")


def _load_without_lock() -> None:
    """Load the largest libraries before torch does: Python would hold its lock meanwhile, and the window stop."""
    found = find_spec("torch")
    if found is None or found.origin is None or not hasattr(os, "RTLD_NOW"):
        return
    folder = Path(found.origin).parent / "lib"
    is_led_elsewhere = bool(os.environ.get("LD_LIBRARY_PATH"))  # torch knows in which order to load CUDA then
    names = _LARGEST[1:] if is_led_elsewhere else _LARGEST
    for path in [folder / name for name in names if (folder / name).is_file()]:  # none but on Linux
        with suppress(AttributeError, OSError):
            # A call through ctypes lets go of the lock, import does not.
            open_library = ctypes.CDLL(None).dlopen
            open_library.restype, open_library.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
            open_library(os.fsencode(path), os.RTLD_NOW)


def _driver_has_loaded_llvm() -> bool:
    if not hasattr(os, "RTLD_DEEPBIND"):
        return False
    try:
        return "libLLVM" in _MAPS.read_text()
    except OSError:
        return False
