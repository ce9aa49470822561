"""What the window's engine does while a model is made ready."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medicosam.models.openvino_runtime import GRAPH_FILE
from napari_medicosam.predict import runtimes
from napari_medicosam.ui.engine import Engine, ServiceSettings
from napari_medicosam.ui.runner import Cancelled
from napari_medicosam.weights.loading import load_weights


def test_an_encoder_is_exported_by_another_process_and_can_be_called_off(monkeypatch):
    def export(sam, folder, watch):
        (folder / GRAPH_FILE).touch()
        while True:
            watch()

    def report(done, total, text):
        said.append(text)
        if said.count("Preparing the encoder …") >= 3:
            raise Cancelled

    said = []
    monkeypatch.setattr(runtimes, "OPENVINO_ENCODERS", ("vit",))
    monkeypatch.setattr(runtimes, "has_openvino", lambda: True)
    monkeypatch.setattr(runtimes, "export_in_process", export)
    engine = Engine(lambda name, progress: load_weights(name, "cpu"))
    settings = ServiceSettings("sam_test", "auto", np.zeros((2, 40, 50), np.int16), None)
    with pytest.raises(Cancelled):
        engine.service(settings, report)
    assert set(said) == {"Loading sam_test …", "Preparing the encoder …"}, "it was over then"
    assert not list(runtimes.graphs_folder().iterdir())
