"""All models that have a name: those of the registry, then the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.weights.own_models import own_entries
from napari_medicosam.weights.registry import by_name, find_in, load_registry

if TYPE_CHECKING:
    from napari_medicosam.weights.registry import Entry


def known_entries() -> tuple[Entry, ...]:
    """Every entry, in the order in which they are listed to people. Own models are read from disk at each call."""
    return (*load_registry().entries, *own_entries())


def find_entry(name: str) -> Entry:
    """The entry with this name or alias; `WeightsError` for an unknown one, with close names."""
    published = load_registry()
    # No own model has a name of the registry's, so these need not be read for one.
    return published.find(name) if name in by_name(published.entries) else find_in(known_entries(), name)
