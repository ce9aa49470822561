"""`medicosam models`, with a registry of its own and a real server on loopback."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from napari_medicosam.cli.models import models_app
from napari_medicosam.errors import CheckpointError, InputError, WeightsError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import save_model
from napari_medicosam.weights import quantised, registry
from napari_medicosam.weights.catalogue import find_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = bytes(range(256)) * 4000


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no setting or proxy of the machine."""
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NAPARI_MEDICOSAM_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def small_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three entries: two that a server has, one whose file must be asked for."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "good.pth").write_bytes(BODY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def entry(name: str, source: dict[str, str], **changes: Any) -> dict[str, Any]:
        return {
            "name": name,
            "title": f"title of {name}",
            "spec": "sam_test",
            "source": source,
            "hashes": {"sha256": hashlib.sha256(BODY).hexdigest()},
            "size_bytes": None,
            "licence": "[red]CC0",  # brackets are text, not markup
            "citation": f"citation of {name}",
            "trained_on": "nothing",
            "input": "anything",
            "window": "auto",
            "scaling": "unit",
        } | changes

    url = f"http://127.0.0.1:{server.server_port}"
    entries = [
        entry("good", {"kind": "url", "url": f"{url}/good.pth"}, aliases=["fine"], size_bytes=len(BODY)),
        entry("lost", {"kind": "url", "url": f"{url}/lost.pth"}),
        entry("by_hand", {"kind": "ask", "page": "https://example.org", "how": "look around"}, hashes={}),
    ]
    file = tmp_path / "registry.json"
    file.write_text(json.dumps({"schema_version": 1, "entries": entries}), "utf-8")
    monkeypatch.setattr(registry, "_registry_path", lambda: file)
    registry.load_registry.cache_clear()
    yield
    registry.load_registry.cache_clear()
    server.shutdown()
    server.server_close()
    thread.join()


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(models_app, arguments)


def _run_well(*arguments: str) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_list_has_a_line_for_every_entry() -> None:
    lines = {line.split()[0]: line.split() for line in _run_well().splitlines() if line.strip()}
    for entry in registry.load_registry().entries:
        assert entry.name in lines
    assert lines["medicosam_lite"][1:] == ["vit_t_lite", "bundled", "20", "MB", "Apache-2.0"]
    assert lines["vit_h"][1:] == ["vit_h", "remote", "2.6", "GB", "Apache-2.0"]
    assert lines["medicosam_vit_b_semantic_decoder"][1:4] == ["decoder", "remote", "-"]
    assert lines["sam_med2d_vit_b"][1:4] == ["vit_b_med2d", "ask", "-"]
    assert lines["ft_sam_vit_b"][1:4] == ["-", "ask", "-"]


@pytest.mark.usefixtures("small_registry")
def test_list_as_json_tells_where_files_are(cache: Path) -> None:
    before = {record["name"]: record for record in json.loads(_run_well("--json"))}
    assert [record["where"] for record in before.values()] == ["remote", "remote", "ask"]
    assert before["good"]["path"] is None
    assert before["good"]["size_bytes"] == len(BODY)
    _run_well("fetch", "good")
    after = {record["name"]: record for record in json.loads(_run_well("--json"))}
    assert after["good"]["where"] == "cached"
    assert after["good"]["path"] == str(cache / "weights" / "good.pth")
    assert "[red]CC0" in _run_well()


@pytest.mark.usefixtures("small_registry")
def test_fetch_prints_paths_and_only_paths(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache / "weights" / "good.pth"
    result = _run("fetch", "fine")
    assert result.exit_code == 0
    assert result.stdout == f"{path}\n"
    assert path.read_bytes() == BODY
    # Nothing is downloaded the second time, network or not.
    assert (
        CliRunner().invoke(models_app, ["fetch", "good"], env={"NAPARI_MEDICOSAM_OFFLINE": "1"}).stdout
        == f"{path}\n"
    )


@pytest.mark.usefixtures("small_registry")
def test_fetch_all_gets_what_it_can_and_names_the_rest(cache: Path) -> None:
    result = _run("fetch", "--all")
    assert result.exit_code == 1
    assert isinstance(result.exception, WeightsError)
    assert "lost: 127.0.0.1" in str(result.exception)
    assert "404" in str(result.exception)
    assert "by_hand" not in str(result.exception)
    assert result.stdout == f"{cache / 'weights' / 'good.pth'}\n"


@pytest.mark.usefixtures("small_registry")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("fetch",), InputError, "NAME of at least one model, or --all"),
        (("fetch", "good", "--all"), InputError, "or --all"),
        (("fetch", "goods"), WeightsError, "unknown model 'goods'. Did you mean good"),
        (("fetch", "by_hand"), WeightsError, "look around; then save the file as"),
        (("verify", "nothing"), WeightsError, "unknown model 'nothing'"),
        (("verify", "good"), WeightsError, "good is not on this machine"),
        (("info", "nothing"), WeightsError, "unknown model 'nothing'"),
        (("--json", "path"), InputError, "--json belongs to the list"),
    ],
)
def test_errors_are_ours(arguments: tuple[str, ...], error: type[Exception], words: str) -> None:
    result = _run(*arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


@pytest.mark.usefixtures("small_registry")
def test_verify_hashes_what_is_there(cache: Path) -> None:
    assert _run_well("verify") == ""
    _run_well("fetch", "good")
    (cache / "weights" / "by_hand.pth").write_bytes(b"placed")
    assert _run_well("verify") == "good: ok\nby_hand: no hash\n"
    (cache / "weights" / "good.pth").write_bytes(BODY[:-1])
    result = _run("verify")
    assert result.exit_code == 1
    assert result.stdout == "good: bad\nby_hand: no hash\n"
    assert "good is damaged" in str(result.exception)
    assert _run_well("verify", "by_hand") == "by_hand: no hash\n"


def test_verify_hashes_the_encoder_in_int8_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (
        _run_well("verify", "medicosam_lite") == "medicosam_lite: ok\nmedicosam_lite, encoder in int8: ok\n"
    )
    monkeypatch.setattr(quantised, "resources", SimpleNamespace(files=lambda _: tmp_path))
    (tmp_path / "medicosam_lite_int8.zip").write_bytes(b"another")
    result = _run("verify", "medicosam_lite")
    assert result.exit_code == 1
    assert result.stdout == "medicosam_lite: ok\nmedicosam_lite, encoder in int8: bad\n"
    assert "medicosam_lite_int8.zip is not the published one" in str(result.exception)


def test_path_follows_the_variable(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _run_well("path") == f"{cache / 'weights'}\n"
    monkeypatch.setenv("NAPARI_MEDICOSAM_MODELS", str(tmp_path / "mine"))
    assert _run_well("path", "--own") == f"{tmp_path / 'mine'}\n"


@pytest.mark.parametrize("name", [entry.name for entry in registry.load_registry().entries])
def test_info_says_everything(name: str) -> None:
    entry = find_entry(name)
    said = _run_well("info", name)
    for text in (entry.licence, entry.citation, entry.trained_on, entry.input, entry.remark):
        assert text in said
    for digest in (entry.hashes.sha256, entry.hashes.xxh128):
        assert (digest or "") in said
    assert str(getattr(entry.source, "url", "")) in said


def test_help_explains_nodes_without_network() -> None:
    said = " ".join(_run_well("--help").split())
    assert "compute nodes have no network" in said
    assert "NAPARI_MEDICOSAM_CACHE" in said
    assert "NAPARI_MEDICOSAM_OFFLINE=1" in said


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_MEDICOSAM_MODELS", str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.fixture
def own_weights(tmp_path: Path) -> str:
    return str(save_model(build_model("sam_test", seed=3), tmp_path / "best.safetensors"))


def test_an_own_model_is_added_shown_checked_and_removed(own_folder: Path, own_weights: str) -> None:
    path = own_folder / "livers.safetensors"
    notes = (
        "--title",
        "Livers of ours",
        "--trained-on",
        "40 scans",
        "--licence",
        "CC0-1.0",
        "--scaling",
        "unit",
    )
    assert _run_well("add", own_weights, "--name", "livers", *notes) == f"{path}\n"
    (line,) = (line.split() for line in _run_well().splitlines() if line.split()[:1] == ["livers"])
    assert line == ["livers", "sam_test", "own", "0", "MB", "CC0-1.0"]
    record = next(record for record in json.loads(_run_well("--json")) if record["name"] == "livers")
    assert (record["where"], record["path"], record["title"]) == ("own", str(path), "Livers of ours")
    said = _run_well("info", "livers")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for text in ("Livers of ours", "40 scans", "CC0-1.0", "RGB 0..1", str(path), digest):
        assert text in said
    assert "livers: ok" in _run_well("verify").splitlines()
    assert _run_well("fetch", "livers") == f"{path}\n"

    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = _run("verify")
    assert "livers: bad" in result.stdout
    assert "another hash than the file that was added" in str(result.exception)
    path.unlink()
    assert "livers is not on this machine" in str(_run("verify").exception)
    assert "file is gone" in _run_well()

    _run_well("remove", "livers")
    assert list(own_folder.iterdir()) == []
    assert "livers" not in _run_well()


def test_an_own_model_is_replaced_only_when_told_to(own_folder: Path, own_weights: str) -> None:
    _run_well("add", own_weights, "--name", "livers")
    assert "say --overwrite" in str(_run("add", own_weights, "--name", "livers").exception)
    _run_well("add", own_weights, "--name", "livers", "--title", "second", "--overwrite")
    assert "second" in _run_well("info", "livers")


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("remove", "medicosam_lite"), WeightsError, "neither replace nor remove"),
        (("remove", "nothing"), WeightsError, "no model 'nothing' of your own"),
        (("add", "nowhere.pth", "--name", "mine"), CheckpointError, "no checkpoint at nowhere.pth"),
        (("add", "nowhere.pth", "--name", "vit_b"), WeightsError, "neither replace nor remove"),
    ],
)
def test_own_models_that_are_none(arguments: tuple[str, ...], error: type[Exception], words: str) -> None:
    result = _run(*arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
