"""One resumable HTTP download: into a `.part` file, and out of it only when every byte has arrived."""

from __future__ import annotations

import errno
import json
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import requests

from napari_medicosam.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHUNK_BYTES = 1 << 16
_LEFTOVER = re.compile(r"tmp[a-z0-9_]{8}")  # the names that pooch gives while it compares a hash
_LEFTOVER_AGE_S = 24 * 3600.0
_MAX_REASON = 200  # a server that speaks no HTTP is quoted
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class NetworkError(WeightsError):
    """The network or the server is to blame, so another way to the file may still work."""


class ProgressCallback(Protocol):
    """Called after every piece that arrived; to cancel, raise: what has arrived is kept for the next time."""

    def __call__(self, done: int, total: int | None, /) -> None:
        """`done` bytes of `total` (None when the server does not say) are on disk."""


@dataclass(slots=True)
class ResumableDownload:
    """Fetch `url` into `part`, going on where an earlier attempt stopped.

    Beside the part lies a note with the server's ETag or date, sent back as If-Range: a file that changed on
    the server since then is fetched from the start. Whoever uses this holds a lock on `part`.

    Attributes:
        url: http or https.
        part: the unfinished file; complete when `receive` returns.
        expected_size: bytes, if known beforehand; servers do not always say.
        most_bytes: what is longer is not the published file, and is not fetched to its end; None for any length.
        progress: told about every piece.
        timeout: seconds to wait for a connection, and for the next piece.
    """

    url: str
    part: Path
    expected_size: int | None = None
    progress: ProgressCallback | None = None
    most_bytes: int | None = None
    timeout: tuple[float, float] = (15.0, 60.0)

    @property
    def note(self) -> Path:
        """What the server said about the version that `part` is a piece of."""
        return self.part.with_name(self.part.name + ".json")

    def receive(self) -> None:
        """Download what is missing.

        Raises:
            NetworkError: without network, for an error status, or a cut connection (the part stays, to be resumed).
            WeightsError: for a full disk (the part is removed).
            ValueError: for more than `most_bytes` (the part is removed).
            OSError: when the folder cannot be written for another reason.
        """
        _sweep(self.part.parent)
        try:
            if not self._attempt():
                # The part does not fit what the server holds now.
                self.discard()
                if not self._attempt():
                    raise NetworkError(f"{_host(self.url)} sent a piece that was not asked for of {self.url}")
        except requests.exceptions.RequestException as error:  # an OSError too, so it comes first
            raise self._network_error(error) from error
        except OSError as error:
            if error.errno in FULL_DISK:
                self.discard()
                raise WeightsError(full_disk_message(self.part.parent, self.expected_size)) from error
            raise

    def hand_over(self, _url: str, output_file: str, _pooch: object, check_only: bool | None = None) -> None:
        """Move the complete part to `output_file`: pooch's last step, which then checks the hash."""
        self.part.replace(output_file)
        self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the part and its note."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _attempt(self) -> bool:
        """One request; False when the part on disk cannot be continued from what the server offers."""
        offset = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", **self._if_range()}
        with requests.get(self.url, headers=headers, stream=True, timeout=self.timeout) as response:
            start, total = _content_range(response.headers)
            if offset and response.status_code == 416:
                return total == offset  # all of it was there already
            if response.status_code == 206 and start != offset:
                return False
            if response.status_code not in (200, 206):
                raise NetworkError(
                    f"{_host(self.url)} answered {response.status_code} {response.reason} for {self.url}: "
                    + ("try again later" if response.status_code >= 500 else "the file may have moved")
                )
            if response.status_code == 200:
                # Also the answer of a server that knows no Range, or whose file has changed.
                offset, total = 0, _content_length(response.headers)
            self._write(response, offset, total or self.expected_size)
        return True

    def _write(self, response: requests.Response, offset: int, total: int | None) -> None:
        self.expected_size = total
        disk = shutil.disk_usage(self.part.parent)
        # Some network file systems say 0 of 0.
        if total is not None and disk.total and disk.free < total - offset:
            raise OSError(errno.ENOSPC, "not enough space")
        self._keep_note(response.headers)
        done = offset
        with self.part.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if self.most_bytes is not None and done > self.most_bytes:
                    break
                if self.progress is not None:
                    self.progress(done, total)
        if self.most_bytes is not None and done > self.most_bytes:
            self.discard()
            raise ValueError(f"It is longer than the {self.most_bytes:,} bytes of that")
        if total is not None and done < total:
            raise requests.exceptions.ConnectionError("the connection was closed early")

    def _if_range(self) -> dict[str, str]:
        try:
            validator = json.loads(self.note.read_bytes())[self.url]
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # resumed all the same: the hash decides in the end
        return {"If-Range": str(validator)}

    def _keep_note(self, headers: Mapping[str, str]) -> None:
        # A weak ETag may stand for different bytes, so If-Range does not take it.
        etag = headers.get("ETag", "")
        validator = headers.get("Last-Modified") if etag.startswith("W/") or not etag else etag
        if validator:
            self.note.write_text(json.dumps({self.url: validator}), encoding="utf-8")
        else:
            self.note.unlink(missing_ok=True)

    def _network_error(self, error: Exception) -> NetworkError:
        kept = self.part.stat().st_size if self.part.exists() else 0
        if not kept:
            return NetworkError(f"cannot reach {_host(self.url)} for {self.url}: {_reason(error)}")
        of = f" of {self.expected_size:,}" if self.expected_size else ""
        return NetworkError(
            f"the download of {self.url} was interrupted after {kept:,}{of} bytes: {_reason(error)}. "
            "What has arrived is kept: run it again to go on from there"
        )


def _sweep(folder: Path) -> None:
    """Remove downloads whose process was killed more than a day ago, while pooch compared their hash."""
    for path in folder.iterdir():
        with suppress(OSError):
            if _LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > _LEFTOVER_AGE_S:
                path.unlink()


def full_disk_message(folder: Path, needed: int | None) -> str:
    """What to say when a file of `needed` bytes does not fit into `folder`."""
    try:
        free = f"{shutil.disk_usage(folder).free:,} bytes are free"
    except OSError:
        free = "the disk is full"
    size = f"{needed:,} bytes are needed" if needed else "its size is not known"
    return (
        f"no space for the weights in {folder}: {size}, {free}. Free some space, or choose another "
        "folder with NAPARI_MEDICOSAM_CACHE"
    )


def _content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(first byte, size of the whole file) of `Content-Range: bytes 5-9/10` or `bytes */10`."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    start, total = found.groups()
    return int(start) if start else None, int(total) if total != "*" else None


def _content_length(headers: Mapping[str, Any]) -> int | None:
    """Bytes to come; None when the server does not say, or sends them packed against our wish."""
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and not headers.get("Content-Encoding") else None


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: BaseException) -> str:
    """The innermost cause: requests wraps "connection refused" in three layers of its own words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    said = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return " ".join(said.split())[:_MAX_REASON] or type(error).__name__
