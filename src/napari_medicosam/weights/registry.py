"""The registry of checkpoints: data in `weights_registry.json`, whose schema these classes are.

The file lies at the top of the source tree; a wheel carries it inside the package. There is no second copy.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from napari_medicosam.errors import WeightsError
from napari_medicosam.models.specs import SPECS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REGISTRY_FILE = "weights_registry.json"
DEFAULT_MODEL = "medicosam_lite"
"""What is used when nobody names a model: bundled, so it works offline from the first click."""

SUFFIXES = (".pth", ".pt", ".safetensors")
"""File types that a checkpoint may have."""
OWN_SUFFIX = ".safetensors"
"""File type of the user's own models, whatever they were added from."""

NAME_PATTERN = r"^[a-z0-9_]+$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
RelativePath = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UrlSource(_Record):
    """A file that is downloaded."""

    kind: Literal["url"]
    url: WebAddress


class BundledSource(_Record):
    """A file that comes with this package, in its folder `weights`."""

    kind: Literal["bundled"]
    file: FileName


class PackageSource(_Record):
    """A file that another Python distribution installs; `resource` is relative to its site-packages."""

    kind: Literal["package"]
    distribution: Text
    version: Text
    resource: RelativePath


class AskSource(_Record):
    """A file that people must download themselves, from `page`, and put into the cache folder."""

    kind: Literal["ask"]
    page: WebAddress
    how: Text


class SeededSource(_Record):
    """No file: random weights drawn from `seed`."""

    kind: Literal["seeded"]
    seed: int


class OwnSource(_Record):
    """A file of the user's own, added by `weights/adding.py`; never in the registry of an installation."""

    kind: Literal["own"]


Source = Annotated[
    UrlSource | BundledSource | PackageSource | AskSource | SeededSource | OwnSource,
    Field(discriminator="kind"),
]


class Hashes(_Record):
    """Published checksums of the file, lower-case hexadecimal."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    xxh128: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None

    @property
    def preferred(self) -> str | None:
        """`"sha256:..."` if that is published, else `"xxh128:..."`, else None: the form that pooch reads."""
        if self.sha256 is not None:
            return f"sha256:{self.sha256}"
        return None if self.xxh128 is None else f"xxh128:{self.xxh128}"


class QuantisedEncoder(_Record):
    """The entry's image encoder in int8, for OpenVINO: a file of this package, in its folder `weights`."""

    file: FileName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]
    weights_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="of the weights that it was made from"
    )


class Entry(_Record):
    """One checkpoint."""

    name: Name
    aliases: tuple[Name, ...] = ()
    title: Text
    role: Literal["interactive", "semantic_decoder"] = "interactive"
    spec: Name | None = Field(description="architecture; null: no model is built from it yet")
    source: Source
    hashes: Hashes = Hashes()
    size_bytes: Annotated[int, Field(gt=0)] | None = Field(description="null when it is not published")
    licence: Text
    citation: Text
    trained_on: Text
    input: Text = Field(description="how stored intensities reach the encoder, for people")
    window: Literal["auto", "percentile", "minmax", "identity"] = Field(
        description="the default of --window: from stored intensities to 0..255"
    )
    scaling: Literal["imagenet", "unit"] = Field(
        description="from 0..255 to what the encoder was trained on: ImageNet mean and deviation, or 0..1"
    )
    remark: str = ""
    int8: QuantisedEncoder | None = None

    @model_validator(mode="after")
    def _check(self) -> Entry:
        if self.spec is not None and self.spec not in SPECS:
            raise ValueError(f"{self.name}: unknown spec {self.spec!r}: wanted null or {', '.join(SPECS)}")
        if self.role == "semantic_decoder" and self.spec is not None:
            raise ValueError(f"{self.name}: a semantic decoder has no spec: wanted null")
        if self.source.kind not in ("ask", "seeded") and self.hashes.preferred is None:
            raise ValueError(f"{self.name}: source {self.source.kind!r} needs a sha256 or xxh128 hash")
        if self.int8 is not None and self.int8.weights_sha256 != self.hashes.sha256:
            raise ValueError(f"{self.name}: the int8 encoder was made from other weights: make it again")
        return self

    @property
    def file_name(self) -> str:
        """Name of the file in its folder: the entry's name, and its file's suffix or `.pth`."""
        match self.source:
            case OwnSource():
                return self.name + OWN_SUFFIX
            case UrlSource(url=url):
                path = urlsplit(url).path
            case BundledSource(file=path) | PackageSource(resource=path):
                pass
            case _:
                path = ""
        suffix = PurePosixPath(path).suffix.lower()
        return self.name + (suffix if suffix in SUFFIXES else SUFFIXES[0])


class Registry(_Record):
    """All checkpoints, in the order in which they are listed to people."""

    schema_version: Literal[1]
    entries: tuple[Entry, ...]

    @model_validator(mode="after")
    def _check(self) -> Registry:
        seen: set[str] = set()
        for entry in self.entries:
            if entry.source.kind == "own":
                raise ValueError(
                    f"{entry.name}: source 'own' is for models that users add, not for the registry"
                )
            for name in (entry.name, *entry.aliases):
                if name in seen:
                    raise ValueError(f"{name!r} is the name or alias of more than one entry")
                seen.add(name)
        return self

    def find(self, name: str) -> Entry:
        """The entry with this name or alias; `WeightsError` for an unknown one, with close names."""
        return find_in(self.entries, name)


def by_name(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by each of their names and aliases."""
    return {name: entry for entry in entries for name in (entry.name, *entry.aliases)}


def find_in(entries: Sequence[Entry], name: str) -> Entry:
    """The entry with this name or alias; `WeightsError` for an unknown one, with close names."""
    known = by_name(entries)
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name.lower(), known, n=3)
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    wanted = ", ".join(entry.name for entry in entries)
    raise WeightsError(f"unknown model {name!r}.{guess} Wanted one of {wanted}")


def read_registry(path: Path) -> Registry:
    """Read and check a registry file; `WeightsError` when it is missing or not as the schema says."""
    try:
        return Registry.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"the registry of weights cannot be read: {error}") from error
    except ValidationError as error:
        raise WeightsError(f"the registry of weights {path} is not valid: {error}") from error


@cache
def load_registry() -> Registry:
    """The registry of this installation, read once a process."""
    return read_registry(_registry_path())


def is_checkpoint_path(name_or_path: str | Path) -> bool:
    """True for a path, False for a name. Told by its looks, so that a stray file never shadows a registry name."""
    if isinstance(name_or_path, Path):
        return True
    return "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(SUFFIXES)


def registry_schema() -> dict[str, Any]:
    """JSON schema of the registry file, as committed in `docs/weights_registry.schema.json`."""
    return Registry.model_json_schema()


def registry_schema_text() -> str:
    """The text of `docs/weights_registry.schema.json`."""
    return json.dumps(registry_schema(), indent=2) + "\n"


def _registry_path() -> Path:
    inside = Path(str(resources.files("napari_medicosam") / REGISTRY_FILE))
    if inside.is_file():
        return inside
    # An editable install reads the source tree: src/napari_medicosam/weights/registry.py
    return Path(__file__).resolve().parents[3] / REGISTRY_FILE
