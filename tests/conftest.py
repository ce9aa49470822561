"""No test reaches the network, a user's cache or a user's settings."""

from __future__ import annotations

import gc
import ipaddress
import itertools
import os
import socket
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: torch, not loaded yet, takes one each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Python's search for garbage goes through all of torch and Qt when it is done as often as it is by default.
gc.set_threshold(10_000, 20, 20)

# No test measures time: the machine may be busy.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a socket file
        return True
    if address[0] in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("connect", "connect_ex", "sendto"):
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, *args: Any, original: Any = original) -> Any:
            if not _is_local(args[-1]):
                raise OSError(f"a test tried to reach {args[-1]}: only loopback is allowed")
            return original(self, *args)

        monkeypatch.setattr(socket.socket, name, guarded)


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests: Qt remembers where its icons lie."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            patch.setenv(name, home)
        yield


@pytest.fixture(scope="session", autouse=True)
def _triton_before_a_window() -> None:
    """Whatever order tests come to a process in: after OpenGL it would crash (ui/torch_import.py)."""
    with suppress(ImportError):
        import_module("triton")


@pytest.fixture(scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New folders without end: `mktemp` looks through all there are before it makes one."""
    root = tmp_path_factory.mktemp("own")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, _own_folders: Iterator[Path]) -> None:
    folder = next(_own_folders)
    for name in ("CACHE", "MODELS", "JOURNALS"):
        (folder / name.lower()).mkdir(parents=True)
        monkeypatch.setenv(f"NAPARI_MEDICOSAM_{name}", str(folder / name.lower()))
    monkeypatch.delenv("NAPARI_MEDICOSAM_OFFLINE", raising=False)
