"""`--runtime` of the commands that encode."""

import pytest

from napari_medicosam.errors import InputError
from napari_medicosam.predict.runtimes import RUNTIME_VARIABLE

TINY = ("--model", "sam_test", "--device", "cpu", "--z-range", "5,8")


def test_embeddings_of_one_precision_are_shared(medicosam, scan, tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setenv(RUNTIME_VARIABLE, "eager")
    medicosam("embed", scan, "--embeddings", store, *TINY)
    result = medicosam("embed", scan, "--embeddings", store, *TINY, "--runtime", "torch")
    assert "encoded 0 slices, 3 were there" in result.output.replace("\n", " ")
    result = medicosam("embed", scan, "--embeddings", store, *TINY, "--runtime", "torch-half")
    assert "encoded 3 slices, 0 were there" in result.output.replace("\n", " ")
    assert len(list(store.iterdir())) == 2


@pytest.mark.parametrize("command", ["segment", "embed"])
def test_an_unknown_runtime_is_said_before_any_work(medicosam, scan, tmp_path, command):
    place = {"segment": ("-o", tmp_path / "out.nii.gz", "--box", "6,8,13,32,37"), "embed": ()}[command]
    store = tmp_path / "store"
    with pytest.raises(InputError, match="unknown encoder runtime 'fast'"):
        medicosam(command, scan, *place, "--embeddings", store, *TINY, "--runtime", "fast")
    assert not store.exists()
