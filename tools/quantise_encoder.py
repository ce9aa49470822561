"""Make the int8 image encoder of the bundled model, for the runtime `openvino-int8`.

    pip install openvino nncf                       # nncf is needed here only
    python tools/quantise_encoder.py TRAIN
    medicosam-evaluate interactive VAL -m medicosam_lite --runtime torch --runtime openvino-int8 -o RESULTS

TRAIN holds data sets that may be redistributed, as for training (docs/model_card.md): a few images of each say which
range every layer's values have. No pixel gets into the graph. The file is packed beside the weights, its hash, and that
of the weights it was made from, go into the registry. VAL holds other data sets: the last command says how much Dice is
lost.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.io.sample_sets import find_samples
from napari_medicosam.models.encoder_runtimes import EagerRuntime
from napari_medicosam.models.openvino_runtime import (
    GRAPH_FILE,
    GRAPH_WEIGHTS,
    QuantisedRuntime,
    export_graph,
    import_openvino,
)
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.weights.loading import load_weights

ROOT = Path(__file__).parents[1]
MODEL = "medicosam_lite"
TARGET = ROOT / "src" / "napari_medicosam" / "weights" / f"{MODEL}_int8.zip"

IMAGES_A_SET = 4
NUM_FLOAT_CONVOLUTIONS = 5
"""The stem and the first block stay in float32: most of the error came from them (docs/performance.md)."""


class Recorder(EagerRuntime):
    """Keeps what the encoder is given, without running it."""

    def __init__(self, encoder: Any, shape: tuple[int, ...]) -> None:
        super().__init__(encoder)
        self._shape = shape
        self.inputs: list[np.ndarray] = []

    def encode(self, image_BCHW: Any) -> Any:
        self.inputs.append(image_BCHW.numpy())
        return image_BCHW.new_zeros((len(image_BCHW), *self._shape))


def calibration_inputs(model: Any, folder: Path) -> list[np.ndarray]:
    """Images as the encoder gets them, `IMAGES_A_SET` of each data set, the same every time."""
    by_dataset: dict[str, list[Any]] = {}
    for sample in find_samples(folder).samples:
        by_dataset.setdefault(sample.dataset, []).append(sample)
    recorder = Recorder(model.sam.image_encoder, model.spec.embedding_shape)
    encoder = SliceEncoder(model, IntensityMapping("identity"), recorder)
    for _, samples in sorted(by_dataset.items()):
        samples.sort(key=lambda sample: sample.sample_id)
        random.Random(0).shuffle(samples)
        for sample in samples[:IMAGES_A_SET]:
            encoder.encode(sample.load().image)
    return recorder.inputs


def quantise(model: Any, inputs: list[np.ndarray], folder: Path) -> None:
    """Write the int8 graph into a folder."""
    import nncf

    openvino = import_openvino()
    export_graph(model.sam.image_encoder, model.spec.model_size, folder)
    graph = openvino.Core().read_model(folder / GRAPH_FILE)
    convolutions = [
        one.get_friendly_name()
        for one in graph.get_ordered_ops()
        if one.get_type_name() in ("Convolution", "GroupConvolution")
    ]
    quantised = nncf.quantize(
        graph,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=convolutions[:NUM_FLOAT_CONVOLUTIONS]),
    )
    (folder / "int8").mkdir()
    openvino.save_model(quantised, folder / "int8" / GRAPH_FILE, compress_to_fp16=False)


def pack(folder: Path) -> bytes:
    """The graph as one file; the same graph gives the same bytes."""
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (GRAPH_FILE, GRAPH_WEIGHTS):
            packed.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return TARGET.read_bytes()


def main(folder: Path) -> None:
    model = load_weights(MODEL, "cpu")
    inputs = calibration_inputs(model, folder)
    with tempfile.TemporaryDirectory() as scratch:
        quantise(model, inputs, Path(scratch))
        content = pack(Path(scratch) / "int8")
    QuantisedRuntime(content)
    registry = ROOT / "weights_registry.json"
    entries = json.loads(registry.read_text("utf-8"))
    entry = next(one for one in entries["entries"] if one["name"] == MODEL)
    entry["int8"] = {
        "file": TARGET.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "weights_sha256": model.weights_sha256,
    }
    registry.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"{TARGET.name}: sha256 {entry['int8']['sha256']}, {len(content)} bytes, {len(inputs)} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
