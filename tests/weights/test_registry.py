"""The registry: what the committed file says, and what the schema refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from napari_medicosam.errors import WeightsError
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.registry import (
    Registry,
    load_registry,
    read_registry,
    registry_schema,
)

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "weights_registry.json"
SCHEMA = ROOT / "docs" / "weights_registry.schema.json"


def _record(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": "one",
        "title": "one",
        "spec": "vit_b",
        "source": {"kind": "url", "url": "https://example.org/one.pth"},
        "hashes": {"sha256": "0" * 64},
        "size_bytes": None,
        "licence": "none",
        "citation": "none",
        "trained_on": "nothing",
        "input": "anything",
        "window": "auto",
        "scaling": "unit",
    }
    return record | changes


def _registry(*records: dict[str, Any]) -> Registry:
    return Registry.model_validate({"schema_version": 1, "entries": records})


def test_committed_schema_is_the_generated_one() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == registry_schema(), (
        "write registry_schema_text() to docs/weights_registry.schema.json"
    )


def test_committed_registry_fits_the_schema() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    registry = json.loads(REGISTRY.read_text("utf-8"))
    validator.validate(registry)
    # and the schema is not one that everything fits
    for spoil in (
        {"schema_version": 2},
        {"entries": [registry["entries"][0] | {"licence": ""}]},
        {"extra": 1},
    ):
        assert not validator.is_valid(registry | spoil)


def test_every_public_checkpoint_is_listed() -> None:
    registry = load_registry()
    assert {entry.name for entry in registry.entries} >= {
        "vit_b", "vit_l", "vit_h", "vit_t", "medicosam_lite", "litemedsam", "sam_test",
        "medicosam_vit_b", "medicosam_vit_b_semantic_decoder",
        "medicosam_vit_b_pre202509", "medicosam_vit_b_semantic_decoder_pre202509",
        "medsam_vit_b", "sam_med2d_vit_b", "ft_sam_vit_b",
    }  # fmt: skip
    # Every architecture that can be built has weights.
    assert {entry.spec for entry in registry.entries} - {None} == set(SPECS)


@pytest.mark.parametrize(
    ("name", "sha256", "xxh128"),
    [
        ("vit_b", "ec2df62732614e57", "6923c33df3637b6a"),
        ("vit_l", "3adcc4315b642a4d", "a82beb3c660661e3"),
        ("vit_h", "a7bf3b02f3ebf126", "97698fac30bd929c"),
        ("vit_t", "6dbb90523a35330f", "8eadbc88aeb9d8c7"),
        ("litemedsam", "79d8c9dca6db4d69", None),
        ("medicosam_vit_b", None, "40169f1e3c03a4b6"),
        ("medicosam_vit_b_semantic_decoder", None, "9e498b12f526f119"),
        ("medicosam_vit_b_pre202509", None, "dc7364c9ccd346f1"),
        ("medicosam_vit_b_semantic_decoder_pre202509", None, "c08d3ada20e2314e"),
    ],
)
def test_published_hashes(name: str, sha256: str | None, xxh128: str | None) -> None:
    hashes = find_entry(name).hashes
    assert (hashes.sha256 or "")[:16] == (sha256 or "")
    assert (hashes.xxh128 or "")[:16] == (xxh128 or "")
    assert hashes.preferred is not None
    assert hashes.preferred.startswith("sha256:" if sha256 else "xxh128:")


def test_scaling_agrees_with_the_specs_mean_unless_finetuned_otherwise() -> None:
    differing = set()
    for entry in load_registry().entries:
        if entry.spec is not None:
            expected = "unit" if SPECS[entry.spec].pixel_mean == (0.0, 0.0, 0.0) else "imagenet"
            if entry.scaling != expected:
                differing.add(entry.name)
    assert differing == {"medsam_vit_b"}


def test_names_and_aliases_find_the_entry() -> None:
    assert find_entry("medicosam_lite") is find_entry("vit_t_lite")
    assert find_entry("medicosam").name == "medicosam_vit_b"


def test_unknown_name_lists_close_ones() -> None:
    with pytest.raises(
        WeightsError, match=r"unknown model 'medicosam_vitb'. Did you mean medicosam_vit_b .*sam_test"
    ):
        find_entry("medicosam_vitb")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": "vit_x"}, "unknown spec 'vit_x'"),
        ({"hashes": {}}, "needs a sha256 or xxh128"),
        ({"hashes": {"sha256": "0" * 63}}, "sha256"),
        ({"hashes": {"sha256": "A" * 64}}, "sha256"),
        ({"hashes": {"xxh128": "0" * 33}}, "xxh128"),
        ({"hashes": {"md5": "0" * 32}}, "md5"),
        ({"source": {"kind": "url", "url": "file:///etc/passwd"}}, "url"),
        ({"source": {"kind": "bundled", "file": "../outside.pth"}}, "file"),
        ({"source": {"kind": "bundled", "file": "a.safetensors"}, "hashes": {}}, "needs a sha256 or xxh128"),
        (
            {"source": {"kind": "package", "distribution": "d", "version": "1", "resource": "a/../../b"}},
            "resource",
        ),
        ({"source": {"kind": "torrent", "url": "https://example.org"}}, "torrent"),
        ({"source": {"kind": "own"}}, "'own' is for models that users add"),
        ({"role": "semantic_decoder"}, "has no spec"),
        ({"name": "a/b"}, "name"),
        ({"licence": " "}, "licence"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"window": "guess"}, "window"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_schema_refuses(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "registry.json"
    file.write_text(json.dumps({"schema_version": 1, "entries": [_record(**changes)]}), "utf-8")
    with pytest.raises(WeightsError, match=words) as caught:
        read_registry(file)
    assert str(file) in str(caught.value)


def test_names_and_aliases_are_unique() -> None:
    _registry(_record(), _record(name="two", aliases=["three"]))
    for second in (_record(), _record(name="two", aliases=["one"]), _record(name="two", aliases=["two"])):
        with pytest.raises(ValueError, match="more than one entry"):
            _registry(_record(), second)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1", b'{"schema_version": 9, "entries": []}'])
def test_unusable_file_is_a_clear_error(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "registry.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"registry\.json"):
        read_registry(file)


@pytest.mark.parametrize(
    ("source", "file_name"),
    [
        ({"kind": "url", "url": "https://example.org/x.safetensors?download=1"}, "one.safetensors"),
        ({"kind": "url", "url": "https://example.org/x.PT"}, "one.pt"),
        ({"kind": "url", "url": "https://example.org/s/abc/download"}, "one.pth"),
        ({"kind": "ask", "page": "https://example.org", "how": "look"}, "one.pth"),
    ],
)
def test_file_name_in_the_cache(source: dict[str, Any], file_name: str) -> None:
    assert _registry(_record(source=source)).find("one").file_name == file_name


def test_registry_is_found_in_an_installed_wheel(tmp_path: Path) -> None:
    """The build's force-include puts it beside the package's modules, where no source tree is in reach."""
    wheel = tmp_path / "wheel"
    package = wheel / "napari_medicosam"
    for file in ("__init__.py", "errors.py", "models/__init__.py", "models/specs.py", "weights/__init__.py",
                 "weights/registry.py"):  # fmt: skip
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_bytes((ROOT / "src" / "napari_medicosam" / file).read_bytes())
    code = "from napari_medicosam.weights.registry import load_registry; print(load_registry().find('vit_t_lite').name)"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(wheel)}
    absent = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "WeightsError" in absent.stderr
    (package / REGISTRY.name).write_bytes(REGISTRY.read_bytes())
    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "medicosam_lite"


def test_bundled_file_is_the_registered_one() -> None:
    entry = find_entry("medicosam_lite")
    file = ROOT / "src" / "napari_medicosam" / "weights" / entry.file_name
    assert file.stat().st_size == entry.size_bytes
