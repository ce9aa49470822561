"""The benchmark: everything that is waited for, ours and `SamPredictor`'s side by side on one machine in one run."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.benchmark.machine import this_machine
from napari_medicosam.benchmark.parts import (
    Bench,
    measure_batch,
    measure_encode,
    measure_first_mask,
    measure_prompts,
    measure_propagation,
)
from napari_medicosam.benchmark.report import BenchReport, MeasuredModel
from napari_medicosam.benchmark.roofline import model_flops
from napari_medicosam.benchmark.scene import make_scene
from napari_medicosam.benchmark.storage import measure_memory, measure_processes, measure_storage
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import save_model
from napari_medicosam.models.specs import get_spec
from napari_medicosam.weights.loading import load_weights
from napari_medicosam.weights.registry import is_checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medicosam.benchmark.rows import Row
    from napari_medicosam.benchmark.settings import BenchSettings, Part
    from napari_medicosam.weights.fetch import ProgressCallback
    from napari_medicosam.weights.loading import LoadedModel


def run_bench(
    settings: BenchSettings,
    device: str | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
    download: ProgressCallback | None = None,
) -> BenchReport:
    """Measure.

    Args:
        settings: what, and how often.
        device: of torch; None takes the best there is.
        on_row: told every row as soon as it is measured.
        download: told about weights that are fetched first.

    Raises:
        WeightsError: for a model that is not known or cannot be had.
    """
    with _model(settings, device, download) as (model, file):
        machine = this_machine(model.sam.device)
        bench = Bench(settings, make_scene(settings.scan_shape, settings.objects), model, machine)
        flops = model_flops(bench.eager.predictor.model)
        parts: dict[Part, Callable[[], Iterator[Row]]] = {
            "encode": partial(measure_encode, bench),
            "prompts": partial(measure_prompts, bench),
            "batch": partial(measure_batch, bench),
            "propagation": partial(measure_propagation, bench),
            "first_mask": partial(measure_first_mask, bench),
            "storage": partial(measure_storage, bench),
            "processes": partial(measure_processes, bench, file),
            "memory": partial(measure_memory, bench, file),
        }
        rows = []
        for name in parts:
            if name not in settings.parts:
                continue
            for found in parts[name]():
                row = found.model_copy(update={"limit": settings.limits.get(found.name)})
                on_row(row)
                rows.append(row)
    return BenchReport(
        date=datetime.now(UTC).date().isoformat(),
        settings=settings.model_copy(update={"model": _without_folder(settings.model)}),
        model=MeasuredModel(
            name=model.name,
            architecture=model.spec.name,
            weights_sha256=model.weights_sha256,
            device=str(model.sam.device),
            runtime=bench.ours.runtime.name,
        ),
        machine=machine,
        flops=flops,
        rows=tuple(rows),
    )


@contextmanager
def _model(
    settings: BenchSettings, device: str | None, download: ProgressCallback | None
) -> Iterator[tuple[LoadedModel, str]]:
    """The model, and what other processes can load it by."""
    if not settings.random_weights:
        yield load_weights(settings.model, device, download), settings.model
        return
    spec = get_spec(settings.model)
    with tempfile.TemporaryDirectory() as folder:
        file = save_model(build_model(spec, seed=0), Path(folder) / f"{spec.name}.safetensors")
        yield replace(load_weights(file, device), name=f"{spec.name}, random weights"), str(file)


def _without_folder(model: str) -> str:
    """Reports are shown to others: of a file the name is enough."""
    return Path(model).name if is_checkpoint_path(model) else model
