"""A run's model card: what was trained from what on what, and how good it was on the validation data. Facts only."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import TrainingError
from napari_medicosam.training.config import config_text, load_config

if TYPE_CHECKING:
    from pathlib import Path

_FOUR = ("point_start", "point_end", "box_start", "box_end")


def write_model_card(folder: Path) -> Path:
    """Write `model_card.md` from the files of a run's folder; `TrainingError` when they cannot be read or it written.

    It holds counts, names of data sets and numbers; no name of a patient's file.
    """
    try:
        config = load_config(folder / "config.yaml")
        record = json.loads((folder / "run.json").read_text("utf-8"))
        validations = _rows(folder / "validation.csv")
        lines = [
            f"# {config.name}",
            "",
            f"Finetuned with `medicosam-finetune` from `{config.model}` ({record['start']['spec']}, weights sha256 "
            f"`{record['start']['weights_sha256']}`), seed {config.seed}, {_steps(folder)} optimizer steps of "
            f"{config.batch_size} images, {config.precision} on {record['device']}.",
            "",
            "## Data",
            "",
            *_data(record["data"]),
            "",
            "## Results on the validation data",
            "",
            *_results(validations),
            "",
            "## Recipe",
            "",
            "```yaml",
            config_text(config).rstrip(),
            "```",
            "",
            "## Versions",
            "",
            *(f"- {name} {number}" for name, number in record["versions"].items()),
            "",
        ]
        path = folder / "model_card.md"
        path.write_text("\n".join(lines), "utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"cannot write the model card of {folder}: {error}") from error
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _steps(folder: Path) -> str:
    rows = _rows(folder / "training.csv")
    return rows[-1]["step"] if rows else "0"


def _data(data: dict[str, Any]) -> list[str]:
    lines = []
    for use, report in data.items():
        lines += [f"For {use} (sha256 of ids and pixels `{report['digest']}`):", ""]
        lines += ["| data set | modality | images | objects |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {one['name']} | {one['modality'] or 'not known'} | {one['num_samples']} | {one['num_objects']} |"
            for one in report["datasets"]
        ]
        lines.append("")
    return lines or ["Not recorded."]


def _results(validations: list[dict[str, str]]) -> list[str]:
    if not validations:
        return ["Not validated."]
    lines = [
        "Mean Dice over data sets of the mean over objects, after the first prompt (start) and after all simulated "
        "corrections (end). The weights of the best score are `best.safetensors`.",
        "",
        "| step | score | point, start | point, end | box, start | box, end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    best = max(validations, key=lambda row: float(row["score"]))
    for row in validations:
        cells = [row["step"], row["score"], *(row[name] for name in _FOUR)]
        mark = "**" if row is best else ""
        numbers = [f"{float(cell):.3f}" for cell in cells[1:]]
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in [cells[0], *numbers]) + " |")
    datasets = [name.removeprefix("point_end/") for name in best if name.startswith("point_end/")]
    lines += [
        "",
        f"At step {best['step']}, after all corrections:",
        "",
        "| data set | from a point | from a box |",
    ]
    lines += ["| --- | --- | --- |"]
    lines += [
        f"| {name} | {float(best[f'point_end/{name}']):.3f} | {float(best[f'box_end/{name}']):.3f} |"
        for name in datasets
    ]
    return lines
