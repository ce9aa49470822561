"""A training run in a process of its own: run_process.py FOLDER CONFIG.json [--kill-at STEP] [--devices N]."""

import argparse
import json
import os
import signal
from pathlib import Path

import torch
from training_helpers import samples, tiny_config

from napari_medicosam.training.run import Hooks, open_run
from napari_medicosam.training.setup import make_fabric


def judge(model, step):
    """A score that depends on the weights, and is best somewhere in the middle."""
    return {"score": model.sam.mask_decoder.iou_token.weight.double().sum().item() + (step == 2)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("config", type=json.loads)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--devices", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = tiny_config(**arguments.config)
    fabric = make_fabric(config, "cpu", arguments.devices)

    def on_step(report):
        if report.step == arguments.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    open_run(arguments.folder, config, samples(), Hooks(judge, on_step), fabric).go()


if __name__ == "__main__":
    main()
