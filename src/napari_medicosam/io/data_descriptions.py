"""What people write beside their images: `MANIFEST.json` of a collection, `dataset.json` of one data set."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path

_SLICE_NUMBER = re.compile(r"[_-](?:z|slice)[_-]?\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DataSetDescription:
    """What is known of a data set beside its pixels.

    Attributes:
        modality: of all its images, "" when not known.
        channels: modality of each nnU-Net or Decathlon channel, by number.
        patient_pattern: finds the patient in the name of an image: the first group, or all that matched.
        modalities: of single volumes, by name.
    """

    modality: str = ""
    channels: dict[int, str] = field(default_factory=dict)
    patient_pattern: re.Pattern[str] | None = None
    modalities: dict[str, str] = field(default_factory=dict)

    def patient_of(self, name: str) -> str:
        """Patient of an image: by the pattern, else the name without a slice number at its end ("P01_z017")."""
        if self.patient_pattern is None:
            return _SLICE_NUMBER.sub("", name) or name
        match = self.patient_pattern.search(name)
        return (match.group(1) if match.groups() else match.group()) or name if match else name


def read_description(folder: Path) -> DataSetDescription:
    """Description of the data set in `folder`.

    From its own `dataset.json` ("modality": text, or by channel as nnU-Net and the Decathlon have it;
    "patient_pattern": regular expression), else from a `MANIFEST.json` in it or up to two folders above.

    Raises:
        FileError: for a `dataset.json` that is no JSON object or whose pattern is none.
    """
    entries = _manifest_entries(folder)
    modalities = {str(entry["name"]): str(entry.get("modality", "")) for entry in entries}
    of_folder = [entry for entry in entries if entry["name"] == folder.name]
    of_split = [entry for entry in of_folder if entry.get("split") == folder.parent.name]
    listed = next((str(entry.get("modality", "")) for entry in of_split or of_folder), "")
    path = folder / "dataset.json"
    if not path.is_file():
        return DataSetDescription(listed, modalities=modalities)
    try:
        own = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON: {error}") from error
    if not isinstance(own, dict):
        raise FileError(f'{path} holds a {type(own).__name__}: wanted an object such as {{"modality": "CT"}}')
    named = own.get("modality", own.get("channel_names", ""))
    channels = _channels(named) if isinstance(named, dict) else {}
    single = next(iter(channels.values()), "") if len(channels) == 1 else ""
    return DataSetDescription(
        modality=(named if isinstance(named, str) else single) or listed,
        channels=channels,
        patient_pattern=_pattern(path, own.get("patient_pattern")),
        modalities=modalities,
    )


def _manifest_entries(folder: Path) -> list[dict[str, Any]]:
    """Entries with a name of the nearest `MANIFEST.json`; files of that name that mean something else have none."""
    resolved = folder.resolve()
    for place in (resolved, *list(resolved.parents)[:2]):
        try:
            content = json.loads((place / "MANIFEST.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        entries = content.get("entries") if isinstance(content, dict) else None
        if isinstance(entries, list):
            return [entry for entry in entries if isinstance(entry, dict) and "name" in entry]
    return []


def _channels(named: dict[str, Any]) -> dict[int, str]:
    return {int(number): str(modality) for number, modality in named.items() if str(number).isdecimal()}


def _pattern(path: Path, pattern: Any) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise FileError(
            f"patient_pattern of {path} is no regular expression: {pattern!r}, {error}"
        ) from error
