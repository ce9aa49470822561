"""Label classes in JSON: our list of {id, name, color}, and the `labels` of nnU-Net and the Decathlon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError
from napari_medicosam.io.label_class_entries import (
    ClassEntry,
    ReadEntries,
    checked_id,
    colour_of_hex,
    colour_of_numbers,
    id_of_text,
    place_error,
)

if TYPE_CHECKING:
    from napari_medicosam.core.label_classes import Colour, LabelClasses

_WANTED = (
    'a list of {"id": 1, "name": "liver", "color": "#d55e00"}, or "labels" as nnU-Net {"liver": 1} or the '
    'Decathlon {"1": "liver"} has them'
)
_ID_KEYS, _COLOUR_KEYS = ("id", "class_id", "label"), ("color", "colour")


class _RepeatedKeyError(ValueError):
    """An object that says two things under one key, of which the JSON library would keep the last."""


def parse_json(file_name: str, text: str) -> ReadEntries:
    """Entries of a JSON file.

    Regions of nnU-Net (several ids under one name) are no classes and are left out; a region of one id is a class.

    Raises:
        FileError: for what is no JSON, has a key twice, or is none of the three forms.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise FileError(
            f"{file_name}, line {error.lineno}: got text that is no JSON ({error.msg}), wanted {_WANTED}"
        ) from error
    except (_RepeatedKeyError, RecursionError, ValueError) as error:
        reason = "objects in objects without end" if isinstance(error, RecursionError) else str(error)
        raise FileError(f"{file_name}: got {reason}, wanted {_WANTED}") from error
    listed = content.get("labels", content) if isinstance(content, dict) else content
    if isinstance(listed, list):
        return ReadEntries(tuple(_listed(file_name, number, e) for number, e in enumerate(listed, start=1)))
    if isinstance(listed, dict):
        return _mapped(file_name, listed)
    raise FileError(f"{file_name}: got {_shown(listed)}, wanted {_WANTED}")


def json_text(classes: LabelClasses) -> str:
    """Our form, one class a line."""
    lines = [
        "  " + json.dumps({"id": c.class_id, "name": c.name, "color": c.colour_hex}, ensure_ascii=False)
        for c in classes
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKeyError(f"the key {key!r} twice in one object")
        found[key] = value
    return found


def _listed(file_name: str, number: int, entry: Any) -> ClassEntry:
    """Entry `number` of our form."""
    where = f"entry {number}"
    if not isinstance(entry, dict):
        raise place_error(file_name, where, _shown(entry), '{"id": 1, "name": "liver", "color": "#d55e00"}')
    id_key = next((key for key in _ID_KEYS if key in entry), None)
    if id_key is None:
        raise place_error(file_name, where, f"no id in {_shown(entry)}", 'an "id"')
    class_id = _id(file_name, where, entry[id_key])
    name = entry.get("name", "")
    if not isinstance(name, str) or (class_id and not name.strip()):
        raise place_error(file_name, where, f"the name {_shown(name)}", "a text that is not empty")
    colour = next((entry[key] for key in _COLOUR_KEYS if entry.get(key) is not None), None)
    return ClassEntry(where, class_id, name, _colour(file_name, where, colour))


def _mapped(file_name: str, labels: dict[str, Any]) -> ReadEntries:
    """Entries of nnU-Net's {name: id or ids}, or of the Decathlon's {id: name}."""
    if labels and all(isinstance(value, str) for value in labels.values()):
        return ReadEntries(
            tuple(
                ClassEntry(f"label {key!r}", id_of_text(file_name, f"label {key!r}", key), name)
                for key, name in labels.items()
            )
        )
    single = {value for value in labels.values() if isinstance(value, int)}
    entries, skipped = [], []
    for name, value in labels.items():
        where = f"label {name!r}"
        if isinstance(value, list) and value:
            ids = [_id(file_name, where, one) for one in value]
            if len(ids) > 1 or ids[0] in single:
                listed = ", ".join(map(str, ids))
                skipped.append(f"{name!r} is a region of the ids {listed} and no class of its own")
                continue
            value = ids[0]
        entries.append(ClassEntry(where, _id(file_name, where, value), name))
    if skipped and not any(entry.class_id for entry in entries):
        raise FileError(f"{file_name} holds only regions: wanted at least one name with one id, {_WANTED}")
    return ReadEntries(tuple(entries), tuple(skipped))


def _id(file_name: str, where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise place_error(file_name, where, f"the id {_shown(value)}", "a whole number 0..65535")
    return checked_id(file_name, where, value)


def _colour(file_name: str, where: str, value: Any) -> Colour | None:
    if value is None:
        return None
    if isinstance(value, list):
        return colour_of_numbers(file_name, where, [str(one) for one in value])
    return colour_of_hex(file_name, where, value if isinstance(value, str) else json.dumps(value))


def _shown(value: Any, at_most: int = 60) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
    except RecursionError:
        return "objects in objects without end"
    return text if len(text) <= at_most else f"{text[:at_most]}..."
