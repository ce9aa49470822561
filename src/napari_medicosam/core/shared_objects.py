"""What the time points of an image share of its objects: that they are there, names, classes, locks."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.object_table import ObjectRecord, ObjectTable

if TYPE_CHECKING:
    from collections.abc import Mapping

SharedKey = tuple[int, str]
"""An object, or a class, by id, and what of it."""

IS_THERE = "is_there"
IS_CLASS_LOCKED = "is_class_locked"
_FIELDS = ("name", "class_id", "is_locked", "is_visible")


def shared_of(table: ObjectTable) -> dict[SharedKey, Any]:
    """All that other time points have to know of a table. Objects and locks that are not there have no key."""
    values: dict[SharedKey, Any] = {(class_id, IS_CLASS_LOCKED): True for class_id in table.locked_classes}
    for record in table.records.values():
        values |= shared_of_object(record)
    return values


def shared_of_object(record: ObjectRecord) -> dict[SharedKey, Any]:
    """All that other time points have to know of one object."""
    object_id = record.object_id
    fields = {(object_id, field): getattr(record, field) for field in _FIELDS}
    return {(object_id, IS_THERE): True, **fields}


def shared_changes(before: Mapping[SharedKey, Any], table: ObjectTable) -> dict[SharedKey, Any]:
    """What of a table is no longer as it was shared before; False for objects, and locks of classes, that are gone.

    Of an object that was not there, all of it: what was known of one before with its id is another step's.
    """
    now, old = shared_of(table), ids_in(before)
    gone = {
        key: False
        for key, value in before.items()
        if value and key[1] in (IS_THERE, IS_CLASS_LOCKED) and key not in now
    }
    changed = {key: value for key, value in now.items() if key not in before or before[key] != value}
    for object_id, record in table.records.items():
        if object_id not in old:
            changed |= shared_of_object(record)
    return changed | gone


def ids_in(values: Mapping[SharedKey, Any]) -> frozenset[int]:
    """Objects that are there."""
    return frozenset(one for (one, field), value in values.items() if field == IS_THERE and value)


def locked_in(values: Mapping[SharedKey, Any]) -> frozenset[int]:
    """Objects that are there and locked."""
    return frozenset(one for one in ids_in(values) if values[one, "is_locked"])


def with_shared(table: ObjectTable, values: Mapping[SharedKey, Any]) -> ObjectTable:
    """A table with the objects of other time points; the same one where there is nothing to change.

    Prompts and masks of its objects stay, objects that it gets have none.

    Args:
        table: of a time point.
        values: all that is shared, with all fields of at least one object.
    """
    ids, records = ids_in(values), dict(table.records)
    for object_id in ids:
        fields = {field: values[object_id, field] for field in _FIELDS}
        known = records.get(object_id)
        if known is None:
            records[object_id] = ObjectRecord(object_id, **fields)
        elif any(getattr(known, field) != value for field, value in fields.items()):
            records[object_id] = replace(known, **fields)
    locked = frozenset(one for (one, field), value in values.items() if field == IS_CLASS_LOCKED and value)
    if records != table.records or locked != table.locked_classes:
        table = replace(table, records=MappingProxyType(records), locked_classes=locked)
    for object_id in records.keys() - ids:
        table = table.without(object_id)
    return table
