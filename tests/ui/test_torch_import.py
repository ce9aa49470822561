"""Torch can be imported beside an OpenGL driver that has loaded its own LLVM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_medicosam.ui import torch_import


@pytest.mark.parametrize(
    "way",
    [
        "from napari_medicosam.ui.torch_import import import_torch; import_torch()",
        "from napari_medicosam import load_model",
    ],
    ids=["the plugin", "the console"],
)
def test_torch_after_opengl_in_a_fresh_process(way):
    code = """
import ctypes.util, ctypes, os
for name in ("libLLVM-15.so.1", "libLLVM.so.1", ctypes.util.find_library("LLVM") or ""):
    try:
        if name:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            break
    except OSError:
        pass
WAY
import torch
print("alive", float(torch.ones(2).sum()))
""".replace("WAY", way)
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "alive 2.0" in answer.stdout


def test_flags_are_put_back(monkeypatch):
    if not hasattr(os, "RTLD_DEEPBIND"):
        return
    before, seen = sys.getdlopenflags(), []

    def fake_import(name):
        seen.append((name, sys.getdlopenflags()))
        if name.startswith("triton"):
            raise ImportError(name)

    for name in ("torch", "triton._C.libtriton"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(torch_import, "_driver_has_loaded_llvm", lambda: True)
    monkeypatch.setattr(torch_import, "import_module", fake_import)
    torch_import.import_torch()
    assert seen == [("triton._C.libtriton", before | os.RTLD_DEEPBIND), ("torch", before)]
    assert sys.getdlopenflags() == before


@pytest.mark.skipif(not hasattr(os, "RTLD_NOW"), reason="Windows loads nothing before")
@pytest.mark.parametrize(
    ("there", "led_to", "loaded"),
    [
        (("cuda", "cpu", "python"), "", ["cuda", "cpu"]),
        (("cuda", "cpu"), "/usr/lib/cuda", ["cpu"]),  # torch itself says which of CUDA's libraries come first
        (("cpu", "python"), "", ["cpu"]),
        ((), "", []),
    ],
)
def test_the_largest_libraries_are_loaded_before_torch(tmp_path, monkeypatch, there, led_to, loaded):
    def dlopen(path, flags):
        found.append(Path(os.fsdecode(path)).stem.removeprefix("libtorch_"))

    found = []
    (tmp_path / "lib").mkdir()
    for name in there:
        (tmp_path / "lib" / f"libtorch_{name}.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", led_to)
    monkeypatch.setattr(
        torch_import, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    )
    monkeypatch.setattr(torch_import.ctypes, "CDLL", lambda _: SimpleNamespace(dlopen=dlopen))
    torch_import._load_without_lock()
    assert found == loaded
