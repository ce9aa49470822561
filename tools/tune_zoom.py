"""Which zoom rule makes simulated annotation best?

    python tools/tune_zoom.py VAL -o RESULTS --max-objects 4

Every rule of `RULES` is evaluated as `medicosam-evaluate interactive --zoom auto` would, into a folder of its own, and
the whole slice beside them; what is there already is not done again. Prints mean Dice over data sets. docs/tuning.md
records what came out and what was chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from napari_medicosam.evaluation.comparison import Comparison
from napari_medicosam.evaluation.interactive import InteractiveSettings
from napari_medicosam.evaluation.score_log import open_log
from napari_medicosam.io.sample_sets import check_samples, find_samples
from napari_medicosam.predict.zoom import ZoomRule
from napari_medicosam.weights.loading import load_weights
from napari_medicosam.weights.registry import DEFAULT_MODEL

RULES = {
    "never": ZoomRule("never"),
    "default": ZoomRule(),
    **{
        f"share-{share}": ZoomRule(max_share=share, max_side=1.0)
        for share in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    },
    **{
        f"context-{context}": ZoomRule(context=context, max_share=0.02, max_side=1.0)
        for context in (1.5, 3.0, 4.0)
    },
    "first-mask": ZoomRule(max_share=0.02, max_side=1.0, reuse_first_mask=True),
}


def main(
    data: Path,
    output: Annotated[Path, typer.Option("--output", "-o")],
    model: Annotated[str, typer.Option()] = DEFAULT_MODEL,
    max_objects: Annotated[int | None, typer.Option()] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only these rules. Repeatable.")] = None,
    mask_prompt: Annotated[bool, typer.Option()] = False,
) -> None:
    """Evaluate the rules and print a table."""
    loaded, samples = load_weights(model), check_samples(find_samples(data))
    names = rule or list(RULES)
    for name in names:
        settings = InteractiveSettings(
            zoom=RULES[name].policy, zoom_rule=RULES[name], max_objects=max_objects, mask_prompt=mask_prompt
        )
        comparison = Comparison([loaded], samples, [settings], output / "embeddings")
        with open_log(output / name, comparison.record) as log:
            for _ in comparison.run(log):
                pass
        print(name, _means(output / name), flush=True)


def _means(folder: Path) -> str:
    """Mean Dice over data sets: (start, after the last correction) of each first prompt."""
    scores = pd.read_csv(folder / "scores.csv")
    rounds = scores[scores["round"].isin([0, scores["round"].max()])]
    means = rounds.groupby(["start", "round", "dataset"])["dice"].mean().groupby(["start", "round"]).mean()
    parts = [f"{start} {int(number)}: {mean:.3f}" for (start, number), mean in means.items()]
    return "  ".join([*parts, f"mean: {means.mean():.3f}"])


if __name__ == "__main__":
    typer.run(main)
