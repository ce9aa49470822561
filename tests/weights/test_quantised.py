"""The int8 encoder that comes with the package: it is the published file, for the weights it was made from, or none."""

from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from napari_medicosam.errors import WeightsError
from napari_medicosam.weights import quantised
from napari_medicosam.weights.quantised import read_quantised
from napari_medicosam.weights.registry import DEFAULT_MODEL, Entry, load_registry


@dataclass
class Folder:
    """Stands for the package's folder of weights."""

    path: object

    def files(self, _):
        return self.path


def test_the_file_is_found_by_the_weights_it_was_made_from():
    entry = load_registry().find(DEFAULT_MODEL)
    assert len(read_quantised(entry.hashes.sha256.upper())) == entry.int8.size_bytes < 12_000_000
    assert read_quantised("ab" * 32) is None


def test_a_changed_or_missing_file_is_refused(tmp_path, monkeypatch):
    entry = load_registry().find(DEFAULT_MODEL)
    content = bytearray(read_quantised(entry.hashes.sha256))
    content[len(content) // 2] ^= 1
    monkeypatch.setattr(quantised, "resources", Folder(tmp_path))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_quantised(entry.hashes.sha256)
    (tmp_path / entry.int8.file).write_bytes(content)
    with pytest.raises(WeightsError, match="not the published one"):
        read_quantised(entry.hashes.sha256)


def test_new_weights_want_a_new_int8_encoder():
    record = load_registry().find(DEFAULT_MODEL).model_dump()
    record["hashes"]["sha256"] = "ab" * 32
    with pytest.raises(ValidationError, match="made from other weights"):
        Entry.model_validate(record)
