"""Bad text files: label classes, the registry of weights, an own model's record, a series' state, prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bad_case import BadFile, bytes_file

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY = Path(__file__).parents[2] / "weights_registry.json"
DEEP = 100_000

JSON_NONSENSE: dict[str, bytes] = {
    "empty": b"",
    "spaces": b" \n \n",
    "null": b"null",
    "a-number": b"17",
    "a-huge-number": b"1" * 5000,
    "a-string": b'"text"',
    "not-json": b"{hello: world}",
    "cut": b'{"items": {"a.png": {"finished": tr',
    "utf-16": '{"version": 1}'.encode("utf-16"),
    "not-utf-8": b'{"version": "\xff\xfe"}',
    "zero-bytes": b'{"version": 1}\0\0\0',
    "deep-lists": b"[" * DEEP,
    "deep-objects": b'{"objects":' * DEEP,
    "infinite": b"[1e999, Infinity]",
    "binary": bytes(range(256)) * 8,
}
"""What is none of our JSON files, whichever is expected."""


def bad_json(reader: str, **special: Any) -> Iterator[BadFile]:
    """Nonsense for everybody, and what only this reader has to refuse."""
    for name, content in JSON_NONSENSE.items():
        yield BadFile(
            f"{reader}-{name}.json", reader, "no JSON of ours", bytes_file(lambda content=content: content)
        )
    for name, content in special.items():
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        yield BadFile(
            f"{reader}-{name.replace('_', '-')}.json",
            reader,
            "JSON that says something impossible",
            bytes_file(lambda text=text: text),
        )


def bad_registry() -> Iterator[BadFile]:
    """The registry of weights, and the record of an own model, which is one entry of it."""
    content = json.loads(REGISTRY.read_text(encoding="utf-8"))
    entry = next(entry for entry in content["entries"] if entry["source"]["kind"] == "url")

    def with_entry(**changes: Any) -> dict[str, Any]:
        return {"schema_version": 1, "entries": [{**entry, **changes}]}

    yield from bad_json(
        "registry",
        version_2={**content, "schema_version": 2},
        unknown_field={**content, "extra": 1},
        twice={"schema_version": 1, "entries": [entry, entry]},
        path_as_name=with_entry(name="../../etc/passwd"),
        no_hash=with_entry(hashes={}),
        short_hash=with_entry(hashes={"sha256": "abc"}),
        file_address=with_entry(source={"kind": "url", "url": "file:///etc/passwd"}),
        bundled_outside=with_entry(source={"kind": "bundled", "file": "../../secret.pth"}),
        package_outside=with_entry(
            source={"kind": "package", "distribution": "a", "version": "1", "resource": "../../a.pth"}
        ),
        unknown_source=with_entry(source={"kind": "shell", "command": "true"}),
        unknown_spec=with_entry(spec="vit_z"),
        negative_size=with_entry(size_bytes=-5),
    )
    yield from bad_json("own_model", registry=content, path_as_name={**entry, "name": "../a"})


def bad_states() -> Iterator[BadFile]:
    """What is remembered of an image series."""
    record = {"finished": True, "image": "ab", "labels": "cd", "shape_zyx": [1, 2, 3]}
    yield from bad_json(
        "series_state",
        version_2={"version": 2, "items": {}},
        no_version={"items": {}},
        items_a_list={"version": 1, "items": [record]},
        unknown_field={"version": 1, "items": {"a.png": {**record, "patient": "x"}}},
        shape_of_two={"version": 1, "items": {"a.png": {**record, "shape_zyx": [1, 2]}}},
        shape_of_words={"version": 1, "items": {"a.png": {**record, "shape_zyx": ["a", "b", "c"]}}},
    )


def bad_prompts() -> Iterator[BadFile]:
    """Prompts of `medicosam segment --prompts`, for an image of (9, 10, 11) voxels."""
    sound = {"points": [[4, 5, 5, "+"]]}

    def of(**changes: Any) -> dict[str, Any]:
        return {"objects": [{**sound, **changes}]}

    yield from bad_json(
        "prompts",
        no_objects={"objects": []},
        unknown_field=of(colour="red"),
        id_0=of(id=0),
        id_too_large=of(id=2**40),
        id_twice={"objects": [{**sound, "id": 3}, {**sound, "id": 3}]},
        point_outside=of(points=[[4, 500, 5, "+"]]),
        slice_outside=of(points=[[400, 5, 5, "+"]]),
        point_nan=b'{"objects": [{"points": [[4, NaN, 5, "+"]]}]}',
        point_infinite=b'{"objects": [{"points": [[1e999, 5, 5, "+"]]}]}',
        point_huge=of(points=[[1e300, 5, 5, "+"]]),
        point_of_two=of(points=[[4, 5]]),
        point_of_words=of(points=[["a", "b", "c"]]),
        point_of_signs=of(points=["+,+,+,+"]),
        only_negative=of(points=[[4, 5, 5, "-"]]),
        box_nan=b'{"objects": [{"boxes": [[4, NaN, 1, 2, 3]]}]}',
        box_empty=of(points=[], boxes=[[4, 5, 5, 5, 5]]),
        box_backwards=of(points=[], boxes=[[4, 8, 8, 2, 2]]),
        box_outside=of(points=[], boxes=[[4, 100, 100, 200, 200]]),
        two_boxes=of(boxes=[[4, 1, 1, 5, 5], [4, 2, 2, 6, 6]]),
        mask_not_there=of(mask="nothing.nii.gz"),
        mask_in_another_folder=of(mask="../../../nothing.nii.gz"),
        mask_with_a_zero_byte=of(mask="a\0.nii.gz"),
        mask_that_is_this_file=of(mask="prompts-mask-that-is-this-file.json"),
        mask_that_is_a_folder=of(mask="."),
        mask_with_half_a_character=b'{"objects": [{"mask": "\\ud800.nii.gz"}]}',
    )


def bad_label_classes() -> Iterator[BadFile]:
    """Label classes in all of their formats; the tests of the formats have one case a rule, these are files."""
    snap = '1 255 0 0 1 1 1 "liver"\n'
    yield from bad_json(
        "label_classes",
        id_true=[{"id": True, "name": "a"}],
        id_half=[{"id": 1.5, "name": "a"}],
        id_negative=[{"id": -1, "name": "a"}],
        id_twice=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
        name_missing=[{"id": 1}],
        name_a_list=[{"id": 1, "name": ["a"]}],
        colour_nonsense=[{"id": 1, "name": "a", "color": "bluish"}],
        colour_deep=b'[{"id": 1, "name": "a", "color": ' + b"[" * 3000 + b"]" * 3000 + b"}]",
        key_twice=b'{"labels": {"a": 1, "a": 2}}',
        only_background={"labels": {"background": 0}},
        only_regions={"labels": {"whole": [1, 2]}},
    )
    texts: dict[str, bytes] = {
        "snap-cut.txt": snap.encode()[:-4],
        "snap-id-huge.txt": b"9" * 400 + snap[1:].encode(),
        "snap-colour-300.txt": snap.replace("255", "300").encode(),
        "snap-quote-left-open.txt": snap.replace('r"', "r").encode(),
        "snap-infinite-alpha.txt": snap.replace("0 1 1 1", "0 inf 1 1").encode(),
        "slicer-continuous.ctbl": b"# Color procedural file\n0 black 0 0 0 255\n",
        "slicer-cut.ctbl": b"# Color table file\n1 liver 22",
        "header-only.csv": b"id,name,color\n",
        "no-id.csv": b"name,color\nliver,#ff0000\n",
        "quote-left-open.csv": b'id,name\n1,"liver\n2,spleen\n',
        "column-twice.csv": b"id,id,name\n1,2,liver\n",
        "too-many-cells.csv": b"id,name\n1,liver,spleen,kidney\n",
        "a-cell-of-1-mb.csv": b"id,name\n1," + b"x" * (1 << 20) + b"\n",
        "latin-1.csv": "id,name\n1,Nüsse\n".encode("latin-1"),
        "utf-16.tsv": "id\tname\n1\tliver\n".encode("utf-16"),
        "zero-bytes.tsv": b"id\tname\n1\tli\0ver\n",
        "five-megabytes.txt": b"1 255 0 0 1 1 1 x\n" * 300_000,
        "a-picture.label": b"\x89PNG\r\n\x1a\n" + bytes(64),
    }
    for name, content in texts.items():
        yield BadFile(
            name, "label_classes", "no list of classes", bytes_file(lambda content=content: content)
        )


def bad_descriptions() -> Iterator[BadFile]:
    """A `dataset.json` beside images."""
    special = {"pattern_no_expression": {"patient_pattern": "(("}, "pattern_a_list": {"patient_pattern": [1]}}
    yield from bad_json("description", **special)
    yield BadFile(
        "description-channel-squared.json",
        "description",
        "a channel that is a digit, but no number",
        bytes_file(lambda: json.dumps({"channel_names": {"²": "CT", "0": "MR"}}).encode()),
        "read",
    )
