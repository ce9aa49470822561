"""Fixtures: a file, a server that has it, and entries that point there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from weights_server import WeightsServer

from napari_medicosam.weights.registry import Entry

EntryMaker = Callable[..., Entry]


@pytest.fixture
def body() -> bytes:
    """2 MB that do not repeat, so that a piece in the wrong place is seen."""
    return np.random.default_rng(0).bytes(2_000_003)


@pytest.fixture
def server(body: bytes) -> Iterator[WeightsServer]:
    server = WeightsServer(body)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no proxy of the machine changes what is tested."""
    monkeypatch.delenv("NAPARI_MEDICOSAM_CACHE", raising=False)
    monkeypatch.delenv("NAPARI_MEDICOSAM_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def make_entry(body: bytes) -> EntryMaker:
    """Entries of a registry; the hash is that of `body` unless another is given."""

    def make(source: dict[str, Any], **changes: Any) -> Entry:
        record = {
            "name": "some_weights",
            "title": "for a test",
            "spec": "sam_test",
            "source": source,
            "hashes": {"sha256": hashlib.sha256(body).hexdigest()},
            "size_bytes": None,
            "licence": "none",
            "citation": "none",
            "trained_on": "nothing",
            "input": "anything",
            "window": "auto",
            "scaling": "unit",
        }
        return Entry.model_validate(record | changes)

    return make


@pytest.fixture
def entry(server: WeightsServer, make_entry: EntryMaker) -> Entry:
    """The file that the server holds."""
    return make_entry({"kind": "url", "url": server.url})
