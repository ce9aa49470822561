"""Encoders exported by a process of their own: the same graphs, and nothing is left of one that failed."""

import importlib.util
import subprocess
import sys

import pytest
import torch

from napari_medicosam.models import graph_process
from napari_medicosam.models.build import build_model
from napari_medicosam.models.graph_process import export_in_process
from napari_medicosam.models.openvino_runtime import OpenVINORuntime, export_graph


class CalledOffError(Exception):
    """Somebody changed their mind."""


@pytest.fixture(scope="module")
def sam():
    return build_model("sam_test", seed=1)


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    processes = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(graph_process.subprocess, "Popen", Popen)
    return processes


@pytest.fixture
def run(monkeypatch):
    """Another program in the place of the export."""
    return lambda code: monkeypatch.setattr(graph_process, "_command", lambda: [sys.executable, "-c", code])


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
)
def test_the_graph_is_the_one_that_this_process_exports(sam, tmp_path):
    here, there, looks = tmp_path / "here", tmp_path / "there", []
    here.mkdir()
    there.mkdir()
    export_graph(sam.image_encoder, 64, here)
    export_in_process(sam, there, lambda: looks.append(1))
    assert sorted(path.name for path in there.iterdir()) == ["encoder.bin", "encoder.xml"]
    assert (there / "encoder.bin").read_bytes() == (here / "encoder.bin").read_bytes()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(OpenVINORuntime(there).encode(image), OpenVINORuntime(here).encode(image))
    assert len(looks) > 1, "whoever waits is asked meanwhile"


def test_the_process_finds_the_weights_and_is_told_nothing_else(sam, tmp_path, run, monkeypatch):
    command = graph_process._command()
    assert not any(str(tmp_path) in word or "sam_test" in word for word in command)
    run(f"import os; os.rename('{graph_process._WEIGHTS}', 'taken.safetensors')")
    export_in_process(sam, tmp_path, lambda: None)
    (taken,) = tmp_path.iterdir()
    exported = []
    monkeypatch.setattr(graph_process, "export_graph", lambda *told: exported.append(told))
    monkeypatch.setattr(graph_process, "_WEIGHTS", str(taken))
    monkeypatch.setattr(graph_process.os, "nice", lambda _: None, raising=False)
    graph_process.main()
    ((encoder, size, _),) = exported
    assert size == 64
    wanted = sam.image_encoder.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in encoder.state_dict().items())


def test_a_process_that_fails_says_so(sam, tmp_path, run):
    run("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        export_in_process(sam, tmp_path, lambda: None)
    assert not list(tmp_path.iterdir())


def test_a_process_that_takes_too_long_is_ended(sam, tmp_path, run, started, monkeypatch):
    monkeypatch.setattr(graph_process, "LIMIT_SECONDS", 0.0)
    run("import time; time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        export_in_process(sam, tmp_path, lambda: None)
    assert started[0].returncode
    assert not list(tmp_path.iterdir())


def test_whoever_calls_it_off_ends_the_process(sam, tmp_path, run, started):
    def watch():
        if started:
            raise CalledOffError

    run("import time; time.sleep(600)")
    with pytest.raises(CalledOffError):
        export_in_process(sam, tmp_path, watch)
    assert started[0].returncode
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "is_frozen"), [("/opt/napari/napari", False), (sys.executable, True), ("", False)]
)
def test_a_program_with_python_inside_is_not_started_again(
    sam, tmp_path, started, monkeypatch, name, is_frozen
):
    monkeypatch.setattr(sys, "executable", name)
    monkeypatch.setattr(sys, "frozen", is_frozen, raising=False)
    with pytest.raises(FileNotFoundError):
        export_in_process(sam, tmp_path, lambda: None)
    assert not started
    assert not list(tmp_path.iterdir())
