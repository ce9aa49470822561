"""Make the bundled weights `medicosam_lite` from finished runs of `medicosam-finetune`.

    medicosam-finetune --preset medicosam-lite-cpu --train TRAIN --val VAL --out RUN
    medicosam-finetune --preset medicosam-lite-cpu-full-size --set model=RUN/best.safetensors --train TRAIN --val VAL \\
        --out RUN2
    python tools/bundle_medicosam_lite.py RUN RUN2

The last run's best weights are stored as float16 and read back; hash and size go into the registry, and config, record
and metrics of all runs into docs/runs/medicosam_lite.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
import yaml

from napari_medicosam.models.checkpoints import load_checkpoint, save_model
from napari_medicosam.models.specs import SPECS

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src" / "napari_medicosam" / "weights" / "medicosam_lite.safetensors"
RECORDS = ROOT / "docs" / "runs" / "medicosam_lite"


def main(runs: list[Path]) -> None:
    best = load_checkpoint(runs[-1] / "best.safetensors", SPECS["vit_t_lite"])
    save_model(best, TARGET, half=True, overwrite=True)
    bundled = load_checkpoint(TARGET, SPECS["vit_t_lite"])
    for (name, wanted), got in zip(best.state_dict().items(), bundled.state_dict().values(), strict=True):
        torch.testing.assert_close(
            got, wanted, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    content = TARGET.read_bytes()
    registry = ROOT / "weights_registry.json"
    entries = json.loads(registry.read_text("utf-8"))
    entry = next(one for one in entries["entries"] if one["name"] == "medicosam_lite")
    entry["hashes"]["sha256"] = hashlib.sha256(content).hexdigest()
    entry["size_bytes"] = len(content)
    entry.pop("int8", None)  # was made from the old weights: tools/quantise_encoder.py makes it again
    registry.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for run in runs:
        record(run)
    print(f"{TARGET.name}: sha256 {entry['hashes']['sha256']}, {len(content)} bytes")


def record(run: Path) -> None:
    """Copy what a run says about itself into the repository."""
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    folder = RECORDS / config["name"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("training.csv", "validation.csv"):
        shutil.copyfile(run / name, folder / name)
    # Where things lay on one machine is nobody's business, and of no use to others.
    config["data"] |= {"train": ["TRAIN"], "validation": ["VAL"]}
    made = (run / "run.json").read_text("utf-8")
    if Path(config["model"]).suffix:
        shown = f"RUN/{Path(config['model']).name}"
        made = made.replace(config["model"], shown)
        config["model"] = shown
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    (folder / "run.json").write_text(made, "utf-8")


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]])
