"""Several models or runtimes side by side: the same objects, starts and seeds, image by image, kept as they come."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.errors import InputError
from napari_medicosam.evaluation.interactive import (
    IDENTITY,
    POOL_BYTES,
    evaluate_image,
    make_service,
    memory_store,
)
from napari_medicosam.evaluation.score_log import EvaluationRecord
from napari_medicosam.evaluation.selection import by_dataset, plan
from napari_medicosam.predict.runtimes import open_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.evaluation.interactive import InteractiveSettings, Progress
    from napari_medicosam.evaluation.score_log import ScoreLog
    from napari_medicosam.io.sample_sets import SampleSet
    from napari_medicosam.io.samples import Sample
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.predict.service import SegmentationService
    from napari_medicosam.weights.loading import LoadedModel


class Comparison:
    """What is to be evaluated: models x runtimes x images x variants of the settings.

    Args:
        models: all in memory; their names tell them apart in the scores.
        data: annotated images of one or many data sets, checked.
        variants: settings that differ in nothing but `mask_prompt` and `zoom`.
        embeddings: folder where embeddings are kept between runs; None keeps them in memory for the run.
        runtimes: that encode (`predict.runtimes.RUNTIMES`). One of float32 gives torch's scores; one of another
            precision stands among the settings. Several are compared as models are: each stands once a runtime, with
            the runtime's name behind its own.

    Raises:
        InputError: for no models or images, two models of one name, other variants, or images that cannot be told
            apart, a runtime that cannot be had here, or several of one precision.
    """

    def __init__(
        self,
        models: Sequence[LoadedModel],
        data: SampleSet,
        variants: Sequence[InteractiveSettings],
        embeddings: Path | None = None,
        runtimes: Sequence[str] = ("torch",),
    ) -> None:
        names = [model.name for model in models]
        if not models or len(set(names)) < len(names):
            raise InputError(f"models must be one or more with names of their own, got {names}")
        if not data.samples:
            raise InputError("got no annotated images to evaluate on")
        self._settings = _shared_settings(variants)
        self._models, self._runtimes = _with_runtimes(models, runtimes)
        if len(runtimes) == 1 and any(one.precision != "float32" for one in self._runtimes.values()):
            self._settings["runtime"] = runtimes[0]
        self._datasets = by_dataset(data.samples)
        self._num_objects = {summary.name: summary.num_objects for summary in data.report.datasets}
        self._variants = variants
        self._embeddings = embeddings
        self._pool = MemoryEmbeddingStore(POOL_BYTES)

    @property
    def runtimes(self) -> dict[str, str]:
        """What encodes, by the name of the model; of "auto" what was chosen."""
        return {name: runtime.name for name, runtime in self._runtimes.items()}

    @property
    def record(self) -> EvaluationRecord:
        """What results of this comparison are about."""
        return EvaluationRecord(
            settings=self._settings,
            models={model.name: model.weights_sha256 for model in self._models},
            datasets={
                name: _description(samples) | {"objects": self._num_objects.get(name)}
                for name, samples in self._datasets.items()
            },
        )

    def num_missing(self, log: ScoreLog) -> int:
        """Images that are not finished, each counted once a model; with a limit of objects, at most so many."""
        return sum(
            log.num_objects(model.name, dataset, sample.sample_id) is None
            for dataset, samples in self._datasets.items()
            for sample in samples
            for model in self._models
        )

    def run(self, log: ScoreLog, progress: Progress | None = None) -> Iterator[str]:
        """Evaluate what the log lacks and add it there.

        Args:
            log: opened with `record`.
            progress: called with the share of an image that one model was done with; images that were finished
                before are not counted.

        Yields:
            The name of each data set when all models are done with it.
        """
        for dataset, samples in self._datasets.items():
            services = self._services(dataset, len(samples))
            finished = {}
            for sample in samples:
                counts = [log.num_objects(model.name, dataset, sample.sample_id) for model in self._models]
                if None not in counts:
                    finished[sample.sample_id] = max(count or 0 for count in counts)
            for task in plan(samples, self._variants[0].max_objects, finished):
                for model in self._models:
                    image = task.sample.sample_id
                    if log.num_objects(model.name, dataset, image) is not None:
                        continue
                    scores = []
                    for variant in self._variants:
                        service = services[model.name, variant.zoom]
                        share = _part(progress, 1 / len(self._variants))
                        scores += evaluate_image(service, task, variant, share)
                    log.append(model.name, dataset, image, scores)
            yield dataset

    def _services(self, dataset: str, num_images: int) -> dict[tuple[str, str], SegmentationService]:
        services: dict[tuple[str, str], SegmentationService] = {}
        for model in self._models:
            store = self._store(model, dataset, num_images)
            for variant in self._variants:
                key = model.name, variant.zoom
                if key not in services:
                    services[key] = make_service(model, store, variant, self._runtimes[model.name])
        return services

    def _store(self, model: LoadedModel, dataset: str, num_images: int) -> EmbeddingStore:
        precision = self._runtimes[model.name].precision
        memory = memory_store(model, self._pool, precision)
        if self._embeddings is None:
            return memory
        # Images are filed as slices of one volume, so a data set of another length is another volume.
        folder = self._embeddings / f"{re.sub(r'[^A-Za-z0-9_-]', '_', dataset)}-{num_images}"
        key = EmbeddingKey(model.spec, model.weights_sha256, IDENTITY, precision=precision)
        return TieredEmbeddingStore(memory, ZarrEmbeddingStore(folder, key, (num_images, 1, 1)))


def _with_runtimes(
    models: Sequence[LoadedModel], names: Sequence[str]
) -> tuple[list[LoadedModel], dict[str, EncoderRuntime]]:
    """Each model once a runtime, and what encodes for it by its name."""
    if not names:
        raise InputError("got no runtime to encode with")
    found: list[LoadedModel] = []
    runtimes: dict[str, EncoderRuntime] = {}
    for model in models:
        opened = [open_runtime(model, name) for name in names]
        if len({one.precision for one in opened}) < len(opened):
            raise InputError(
                f"runtimes {', '.join(names)} share a precision, and so embeddings and scores: wanted runtimes of "
                "different precision to compare, such as torch and openvino-int8"
            )
        for name, runtime in zip(names, opened, strict=True):
            found.append(model if len(names) == 1 else replace(model, name=f"{model.name} {name}"))
            runtimes[found[-1].name] = runtime
    return found, runtimes


def _shared_settings(variants: Sequence[InteractiveSettings]) -> dict[str, Any]:
    """Settings as JSON, those that vary as lists; JSON has no tuples, and they are compared with what was read."""
    records: list[dict[str, Any]] = [json.loads(json.dumps(asdict(variant))) for variant in variants]
    if not records:
        raise InputError("got no settings to evaluate with")
    varied = {name: [record.pop(name) for record in records] for name in ("mask_prompt", "zoom")}
    if any(record != records[0] for record in records) or len(set(variants)) < len(variants):
        raise InputError(f"variants may differ in mask_prompt and zoom only, got {list(variants)}")
    rule = records[0].pop("zoom_rule")
    del rule["policy"]
    zoomed = set(varied["zoom"]) != {"never"}
    return records[0] | varied | ({"zoom_rule": rule} if zoomed else {})


def _description(samples: Sequence[Sample]) -> dict[str, Any]:
    names = json.dumps([sample.sample_id for sample in samples]).encode("ascii")
    return {"images": len(samples), "digest": hashlib.sha256(names).hexdigest()[:16]}


def _part(progress: Progress | None, factor: float) -> Progress | None:
    return None if progress is None else lambda share: progress(share * factor)
