"""Bad session files: zips, the document in them, and their masks."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bad_case import BadFile, bytes_file, spoilt_everywhere
from bad_texts import JSON_NONSENSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOUND = Path(__file__).parents[1] / "io" / "session_v1.zip"
MEGABYTE = 1 << 20


@cache
def session() -> bytes:
    """A sound session, as version 1 wrote it."""
    return SOUND.read_bytes()


def _changed(change: Callable[[str, bytes], bytes | None], **more: bytes) -> bytes:
    """The sound session with its members changed; None leaves one out, `more` come to them."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(session())) as old,
        zipfile.ZipFile(stream, "w") as new,
    ):
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of no date
        for name, content in more.items():
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _with_document(content: bytes) -> bytes:
    return _changed(lambda name, data: content if name == "session.json" else data)


def _with_field(path: tuple[str, ...], value: Any) -> bytes:
    def change(name: str, data: bytes) -> bytes:
        if name != "session.json":
            return data
        found = json.loads(data)
        place = found
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return json.dumps(found).encode()

    return _changed(change)


def _with_damaged_data(name: str) -> bytes:
    """The sound session with a log, and noise where the deflated data of a member should be."""
    content = bytearray(_changed(lambda name, data: data, **{"log.jsonl": b'{"kind": "edit"}' * 9}))
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        place = packed.getinfo(name).header_offset
    name_length, extra_length = struct.unpack_from("<HH", content, place + 26)
    start = place + 30 + name_length + extra_length
    content[start : start + 20] = b"\xff" * 20
    return bytes(content)


def bad_sessions() -> Iterator[BadFile]:
    """All of them."""
    lengths = (1, 4, 30, 0.3, 0.7, -1, -22, -100)
    yield from spoilt_everywhere(
        session, "session", ".session.zip", lengths, 16, after_flip="same or refused"
    )
    for name, content in JSON_NONSENSE.items():
        yield BadFile(
            f"document-{name}.session.zip",
            "session",
            "a document that is none of ours",
            bytes_file(lambda content=content: _with_document(content)),
        )

    def array_of(**changes: Any) -> bytes:
        def change(name: str, data: bytes) -> bytes:
            is_array = name.endswith("labels/zarr.json")
            return json.dumps(json.loads(data) | changes).encode() if is_array else data

        return _changed(change)

    files: dict[str, tuple[Callable[[], bytes], str]] = {
        "version-99": (lambda: _with_field(("version",), 99), "refused"),
        "shape-huge": (lambda: _with_field(("image", "shape_tzyx"), [1, 10**6, 10**6, 10**6]), "refused"),
        "shape-negative": (lambda: _with_field(("image", "shape_tzyx"), [1, -6, 12, 17]), "refused"),
        "unknown-field": (lambda: _with_field(("patient",), "x"), "refused"),
        "no-document": (lambda: _changed(lambda name, data: None if name == "session.json" else data), "refused"),
        "no-masks": (lambda: _changed(lambda name, data: None if "masks" in name else data), "refused"),
        "no-chunks": (lambda: _changed(lambda name, data: None if "/c/" in name else data), "either"),
        "chunks-of-noise": (lambda: _changed(lambda name, data: b"noise" * 9 if "/c" in name else data), "refused"),
        "array-huge": (lambda: array_of(shape=[1, 10**6, 10**6, 10**6]), "refused"),
        "array-of-another-type": (lambda: array_of(data_type="float64"), "refused"),
        "document-bomb": (lambda: _with_document(b"[" + b" " * (300 * MEGABYTE) + b"]"), "refused"),
        "members-outside": (
            lambda: _changed(lambda name, data: data, **{"../../outside.txt": b"x", "/outside.txt": b"x"}), "either",
        ),
        "a-member-twice": (lambda: _changed(lambda name, data: data, **{"session.json": b"{}"}), "refused"),
        "document-not-deflated": (lambda: _with_damaged_data("session.json"), "refused"),
        "log-not-deflated": (lambda: _with_damaged_data("log.jsonl"), "refused"),
        "names-not-utf-8": (lambda: session().replace(b"labels/zarr", b"labels/\xff\xfear"), "refused"),
        "an-empty-zip": (lambda: b"PK\5\6" + bytes(18), "refused"),
    }  # fmt: skip
    for name, (content, wanted) in files.items():
        # The document may be 256 MB, which is no list of a session but bounds what a bomb costs.
        declared = 300 * MEGABYTE if "bomb" in name else 1 << 16
        yield BadFile(
            f"{name}.session.zip", "session", "a session that makes no sense", bytes_file(content), wanted,
            declared=declared,
        )  # fmt: skip
