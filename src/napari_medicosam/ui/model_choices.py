"""Texts of the form: which models, windows and zooms there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.core.intensity import WINDOW_PRESETS
from napari_medicosam.weights.catalogue import known_entries
from napari_medicosam.weights.fetch import status

if TYPE_CHECKING:
    from napari_medicosam.weights.registry import Entry

_ORIGINS = {
    "bundled": "bundled",
    "cached": "downloaded",
    "package": "installed",
    "ask": "needs a file",
    "own": "yours",
}

WINDOW_HELP = {
    "auto": "what the model was trained with; soft tissue for CT",
    "percentile": "0.5 % to 99.5 % of the volume's intensities",
    "minmax": "darkest to brightest voxel",
    **{
        name: f"width {width:g}, level {level:g} HU: {level - width / 2:g} to {level + width / 2:g}"
        for name, (width, level) in WINDOW_PRESETS.items()
    },
}

ZOOM_HELP = {
    "auto": "small objects are looked at closely, others in the whole slice",
    "never": "always the whole slice: quicker on a slow machine",
    "always": "closely wherever anything is gained",
}


def model_choices() -> list[tuple[str, str, str]]:
    """(name, text, help) of every interactive model for people, their own last; random test weights are left out."""
    entries = [
        entry
        for entry in known_entries()
        if entry.role == "interactive" and entry.spec is not None and entry.source.kind != "seeded"
    ]
    return [(entry.name, f"{entry.name}  ({_origin(entry)})", _help(entry)) for entry in entries]


def _origin(entry: Entry) -> str:
    origin = status(entry)
    if origin == "remote":
        size = f" {entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes else ""
        return f"download{size}"
    return _ORIGINS.get(origin, origin)


def _help(entry: Entry) -> str:
    return f"{entry.title}\nTrained on: {entry.trained_on}\nLicence: {entry.licence}"
