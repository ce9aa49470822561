from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from cache_helpers import WINDOW, make_key
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medicosam.cache import keys as keys_module
from napari_medicosam.cache.keys import EmbeddingKey, RecentDigests, check_digest, same_pixels, slice_digest
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.errors import InputError
from napari_medicosam.models.specs import SPECS, ModelSpec, get_spec

FINITE = st.floats(-5000, 5000)


@st.composite
def keys(draw: st.DrawFn) -> EmbeddingKey:
    low = draw(FINITE)
    mapping = IntensityMapping(
        draw(st.sampled_from(["identity", "window", "percentile", "minmax"])),
        low,
        low + draw(st.floats(1, 5000)),
    )
    weights = draw(st.binary(min_size=32, max_size=32)).hex()
    return EmbeddingKey(
        draw(st.sampled_from(list(SPECS.values()))),
        weights,
        mapping,
        draw(st.sampled_from(["float16", "float32"])),
    )


def test_a_key_keeps_its_group_name_for_ever() -> None:
    # A change here makes every stored embedding useless: raise SCHEMA_VERSION only when that is meant.
    assert make_key().group_name(0) == "83b3f71b96bbfe94a6e2a71d5601b63a"
    assert make_key("float32").group_name(2) == "1e8fe5bb942c4683ce2f3ec47b4bd199"


def test_group_name_is_the_same_in_another_process() -> None:
    code = "from cache_helpers import make_key; print(make_key().group_name(1))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == make_key().group_name(1)


@settings(deadline=None)
@given(keys(), st.integers(0, 2))
def test_record_survives_json_and_name_is_hex(key: EmbeddingKey, axis: int) -> None:
    record = key.as_record(axis)
    assert json.loads(json.dumps(record)) == record
    int(key.group_name(axis), 16)
    assert len(key.group_name(axis)) == 32


@settings(deadline=None)
@given(keys(), keys(), st.integers(0, 2), st.integers(0, 2))
def test_names_are_equal_only_for_equal_keys(
    a: EmbeddingKey, b: EmbeddingKey, axis_a: int, axis_b: int
) -> None:
    assert (a.group_name(axis_a) == b.group_name(axis_b)) == ((a, axis_a) == (b, axis_b))
    assert a.group_name(axis_a) == replace(a).group_name(axis_a)


def changed_keys(key: EmbeddingKey) -> dict[str, EmbeddingKey]:
    mapping, spec = key.mapping, key.spec
    kind = "minmax" if mapping.kind != "minmax" else "window"
    changed = {
        "weights": replace(key, weights_sha256="%064x" % ((int(key.weights_sha256, 16) + 1) % 2**256)),
        "dtype": replace(key, dtype="float32" if key.dtype == "float16" else "float16"),
        "mapping.kind": replace(key, mapping=replace(mapping, kind=kind)),
        "mapping.low": replace(key, mapping=replace(mapping, low=float(np.nextafter(mapping.low, -np.inf)))),
        "mapping.high": replace(
            key, mapping=replace(mapping, high=float(np.nextafter(mapping.high, np.inf)))
        ),
    }
    for field in fields(ModelSpec):
        value = getattr(spec, field.name)
        if isinstance(value, tuple):
            other: object = (*value, 1)
        elif isinstance(value, str):
            other = value + "x"
        else:
            other = value + 1
        changed[f"spec.{field.name}"] = replace(key, spec=replace(spec, **{field.name: other}))
    return changed


@settings(deadline=None)
@given(keys(), st.integers(0, 2))
def test_every_field_counts(key: EmbeddingKey, axis: int) -> None:
    names = {what: other.group_name(axis) for what, other in changed_keys(key).items()}
    names["itself"] = key.group_name(axis)
    names["axis"] = key.group_name((axis + 1) % 3)
    assert len(set(names.values())) == len(names)


@settings(deadline=None)
@given(keys(), st.text())
def test_the_label_of_a_mapping_does_not_count(key: EmbeddingKey, label: str) -> None:
    named = replace(key, mapping=replace(key.mapping, name=label))
    assert named.group_name(0) == key.group_name(0)
    assert named.as_record(0) == key.as_record(0)


def test_numbers_that_compare_equal_have_one_name() -> None:
    def name(low: float, high: float) -> str:
        return replace(make_key(), mapping=IntensityMapping("window", low, high)).group_name(0)

    assert name(0, 255) == name(0.0, 255.0) == name(-0.0, np.float64(255)) == name(0, np.float32(255))
    upper = replace(make_key(), weights_sha256="AB" * 32)
    assert upper.group_name(0) == make_key().group_name(0)


@pytest.mark.parametrize("weights", ["", "abc", "g" * 64, "a" * 65])
def test_weights_must_be_a_sha256(weights: str) -> None:
    with pytest.raises(InputError, match="64 hex digits"):
        EmbeddingKey(get_spec("sam_test"), weights, WINDOW)


def test_dtype_must_be_known() -> None:
    with pytest.raises(InputError, match="float16 or float32 or int8, got 'int16'"):
        make_key("int16")


@settings(deadline=None)
@given(hnp.arrays(st.sampled_from(["i2", "u1", "f4", "f8", "?"]), hnp.array_shapes(min_dims=2, max_dims=3)))
def test_digest_sees_values_not_memory(image: np.ndarray) -> None:
    digest = slice_digest(image)
    assert len(digest) == 16
    assert slice_digest(image.astype(image.dtype.newbyteorder(">"))) == digest
    assert slice_digest(np.asfortranarray(image)) == digest
    doubled = np.repeat(image, 2, axis=0)[::2]
    assert slice_digest(doubled) == digest


def test_digest_sees_pixel_dtype_and_shape() -> None:
    image = np.arange(12, dtype=np.int16).reshape(3, 4)
    other = image.copy()
    other[2, 3] += 1
    variants = [
        image,
        other,
        image.reshape(4, 3),
        image.view(np.uint16),
        image.astype(np.int32),
        image[..., None],
    ]
    assert len({slice_digest(variant) for variant in variants}) == len(variants)
    assert slice_digest(image).hex() == "e0f41bef03c003b9a82eba979f2bb16e"


def test_digest_of_what_is_no_image() -> None:
    with pytest.raises(InputError, match="dtype object"):
        slice_digest(np.array([[None]]))


@pytest.mark.parametrize("digest", [b"", b"\0" * 16, b"x" * 15, b"x" * 17])
def test_check_digest(digest: bytes) -> None:
    with pytest.raises(InputError, match="16 bytes"):
        check_digest(digest)


def test_prepare_checks_and_copies() -> None:
    key = make_key()
    embedding = np.full(key.spec.embedding_shape, 0.1, np.float32)
    prepared = key.prepare(embedding)
    embedding[:] = 7
    assert prepared.dtype == np.float16
    assert not prepared.flags.writeable
    assert np.all(prepared == np.float16(0.1))
    with pytest.raises(InputError, match=r"\(32, 4, 4\), got float32 of shape \(32, 4, 5\)"):
        key.prepare(np.zeros((32, 4, 5), np.float32))
    with pytest.raises(InputError, match="got float64"):
        key.prepare(np.zeros(key.spec.embedding_shape))
    embedding[0, 0, 0] = 70000  # more than float16 holds
    with pytest.raises(InputError, match="not finite in float16"):
        key.prepare(embedding)
    assert make_key("float32").prepare(embedding)[0, 0, 0] == 70000


SLICES = [
    np.zeros((3, 4), np.int16),
    np.zeros((4, 3), np.int16),
    np.zeros((3, 4), np.uint16),
    np.zeros((3, 4), np.float32),
    -np.zeros((3, 4), np.float32),
    np.full((3, 4), np.nan, np.float32),
    np.zeros((3, 4, 3), np.uint8),
    np.zeros((3, 4), bool),
    np.arange(12, dtype=np.int16).reshape(3, 4),
]


def test_same_pixels_have_one_digest_and_others_another() -> None:
    for i, one in enumerate(SLICES):
        for j, other in enumerate(SLICES):
            assert same_pixels(one, other.copy()) == (i == j) == (slice_digest(one) == slice_digest(other))


def test_digests_of_the_last_two_slices_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(keys_module, "slice_digest", lambda image: asked.append(image) or slice_digest(image))
    recent = RecentDigests()
    for one in SLICES:
        assert recent.of(one) == recent.of(one.copy()) == slice_digest(one)
    assert len(asked) == len(SLICES)
    recent.of(SLICES[-2].copy())
    assert len(asked) == len(SLICES)
    recent.of(SLICES[-3])
    assert len(asked) == len(SLICES) + 1, "no more than two are held"
