"""Where an OME-Zarr image lies, and which of its channels and time points is meant: told from a name alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

ENDING = ".zarr"

_MARKERS = ("zarr.json", ".zgroup", ".zattrs")
"""Files that make a folder a zarr group."""

_URL = re.compile(r"(https?):/{1,2}(?=[^/])", re.IGNORECASE)
"""One slash is left of two where the address went through a `Path`."""

_PLAIN_URL = re.compile(r"https?://[^/@?#]+/([^?#]+/)*[^/?#]*\.zarr(/[^?#]*)?", re.IGNORECASE)
_CHOICE = re.compile(r"(?P<root>.+)#(?P<choice>[ct]=\d{1,9}(,[ct]=\d{1,9})?)")


@dataclass(frozen=True, slots=True)
class Address:
    """A group of an OME-Zarr, and what is wanted of it.

    Attributes:
        root: a folder, or an http(s) address.
        at: number of the channel ("c") and of the time point ("t"), where they were named.
    """

    root: Path | str
    at: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.root)

    @property
    def name(self) -> str:
        """The last part without its ending: "scan" for "scan.ome.zarr"."""
        last = self.root.name if isinstance(self.root, Path) else self.root.rstrip("/").rsplit("/", 1)[-1]
        return re.sub(r"(\.ome)?\.zarr$", "", last, flags=re.IGNORECASE) or last

    def inside(self, inner: str) -> Address:
        """Of a group inside this one."""
        root = self.root / inner if isinstance(self.root, Path) else f"{self.root}/{inner}"
        return Address(root, self.at)

    @classmethod
    def parse(cls, path: str | PathLike[str]) -> Address:
        """The address that `path` stands for; a channel and a time point may follow: "scan.ome.zarr#c=1,t=0".

        Raises:
            FileError: for an http(s) address that names no .zarr, or holds a password or a query.
        """
        text = path.as_posix() if isinstance(path, PurePath) else str(path)
        is_url = bool(_URL.match(text))
        found = None if not is_url and Path(text).exists() else _CHOICE.fullmatch(text)
        at: dict[str, int] = {}
        if found is not None:
            text = found["root"]
            at = {part[0]: int(part[2:]) for part in found["choice"].split(",")}
        if not is_url:
            return cls(Path(text), at)
        url = _URL.sub(lambda match: f"{match[1].lower()}://", text, count=1).rstrip("/")
        if not _PLAIN_URL.fullmatch(url):
            raise FileError(
                "cannot open this address: wanted https://HOST/.../NAME.zarr, without user name, password and query"
            )
        return cls(url, at)


def is_ome_zarr(path: str | PathLike[str]) -> bool:
    """True for an http(s) address, a zarr group on disk, and whatever is named like one, there or not."""
    text = path.as_posix() if isinstance(path, PurePath) else str(path)
    if _URL.match(text):
        return True
    root = Address.parse(path).root
    return isinstance(root, Path) and (
        root.name.lower().endswith(ENDING) or any((root / name).is_file() for name in _MARKERS)
    )


def holds_image(path: str | PathLike[str]) -> bool:
    """True for an http(s) address, and for a folder whose attributes speak of an image: zarr is used for more."""
    root = Address.parse(path).root
    if not isinstance(root, Path):
        return True
    files = [root / name for name in _MARKERS]
    return any(b'"multiscales"' in file.read_bytes() for file in files if file.is_file())


def image_of_labels(path: Path) -> Path | None:
    """The image folder that labels at this place would belong to ("a.zarr" for "a.zarr/labels/liver"), if any."""
    is_inside = path.parent.name == "labels" and not path.name.lower().endswith(ENDING)
    image = path.parent.parent
    return image if is_inside and any((image / name).is_file() for name in _MARKERS) else None


def check_inner_path(where: str, inner: object) -> str:
    """`inner`, a path inside of an OME-Zarr as its metadata give it; `FileError` when it may lead out of it."""
    parts = inner.split("/") if isinstance(inner, str) else []
    if not parts or any(part in ("", ".", "..") or re.search(r"[\\:\x00]", part) for part in parts):
        raise FileError(f"{where} names {inner!r} as a part of itself: wanted a path inside, such as '0'")
    return "/".join(parts)
