"""A config becomes a model, an optimizer, data and an objective, ready for the loop."""

from __future__ import annotations

import hashlib
import math
import os
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.models.frames import check_input_size
from napari_medicosam.models.semantic_decoder_2d import SemanticDecoderSpec, build_semantic_decoder
from napari_medicosam.models.specs import get_spec
from napari_medicosam.models.transfer import start_from
from napari_medicosam.training.batches import BalancedDraws, InputSides, ViewDataset
from napari_medicosam.training.encoding import FrozenEncoder, LearningEncoder, version_key
from napari_medicosam.training.objective import InteractiveObjective
from napari_medicosam.training.optimizer import choose_trainable, make_optimizer
from napari_medicosam.training.semantic_objective import SemanticTerm
from napari_medicosam.training.trainer import Learner
from napari_medicosam.weights.loading import LoadedModel, load_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from napari_medicosam.io.samples import Sample
    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.training.encoding import Encoding

_PATIENCE = timedelta(hours=2)
"""Processes wait so long for the first one, which validates alone; the default is 10 minutes on GPUs."""


def build_learner(
    config: RunConfig, samples: Sequence[Sample], fabric: Fabric, embeddings: Path
) -> tuple[LoadedModel, Learner]:
    """Everything a run trains with, at its start.

    Args:
        config: the run.
        samples: to train on.
        fabric: launched.
        embeddings: folder for those of a frozen encoder; not made for others.
    """
    model = _starting_model(config, fabric)
    choose_trainable(model.sam, config.trainable)
    semantic = _semantic_term(model, config, fabric)
    others = list(semantic.parameters()) if semantic is not None else []
    optimizer = fabric.setup_optimizers(make_optimizer(model.sam, others, config.optimizer))
    sides = InputSides(model.spec.model_size, config.batch_size, config.small_size, config.small_steps)
    if config.small_size is not None:
        check_input_size(model.sam, config.small_size)
    data = config.data
    draws = BalancedDraws(samples, data.balance, config.seed, _variants(config), data.modality_balance)
    learner = Learner(
        sam=model.sam,
        optimizer=cast("torch.optim.Optimizer", optimizer),
        dataset=ViewDataset(samples, draws, data, sides, config.seed),
        encoding=_encoding(embeddings, model, config, len(samples), fabric),
        sides=sides,
        objective=InteractiveObjective(model.sam, config.objective, config.seed, _activations(fabric)),
        semantic=semantic,
        names=[f"{sample.dataset}/{sample.sample_id}" for sample in samples],
        steps_per_epoch=max(1, math.ceil(len(samples) / config.batch_size)),
    )
    return model, learner


def make_fabric(
    config: RunConfig, accelerator: str = "auto", devices: int | str = 1, num_nodes: int = 1
) -> Fabric:
    """Launched; under torchrun or SLURM it finds its place from the environment. Torchrun says how many processes and
    machines there are; without asking it each process would train alone, all in one folder.
    """  # noqa: D205
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    several = devices != 1 or num_nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        strategy=DDPStrategy(timeout=_PATIENCE) if several else "auto",
        devices=devices,
        num_nodes=num_nodes,
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def learned_parameters(model: LoadedModel, semantic: nn.Module | None) -> dict[str, nn.Parameter]:
    """What requires grad, by name."""
    parts = [("sam.", model.sam)] + ([("semantic.", semantic)] if semantic is not None else [])
    return {
        prefix + name: parameter
        for prefix, part in parts
        for name, parameter in part.named_parameters()
        if parameter.requires_grad
    }


def _starting_model(config: RunConfig, fabric: Fabric) -> LoadedModel:
    model = load_weights(config.model, fabric.device)
    if config.architecture is None or config.architecture == model.spec.name:
        return model
    spec = get_spec(config.architecture)
    sam = start_from(model.sam.state_dict(), spec, seed=config.seed).to(fabric.device)
    sha256 = hashlib.sha256(f"{model.weights_sha256} {spec.name} {config.seed}".encode()).hexdigest()
    return LoadedModel(sam, spec, f"{model.name} as {spec.name}", sha256, model.window)


def _activations(fabric: Fabric) -> torch.dtype:
    """What Fabric took, not what was asked for: CPUs get bfloat16 for float16."""
    taken = fabric.strategy.precision.precision
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(taken, torch.float32)


def _variants(config: RunConfig) -> int | None:
    """A frozen encoder's embeddings are stored, so the versions of an image must come to an end."""
    if config.data.variants is None and config.trainable.encoder_is_frozen:
        return 1 if config.data.augmentation == type(config.data.augmentation)() else 4
    return config.data.variants


def _encoding(
    folder: Path, model: LoadedModel, config: RunConfig, num_samples: int, fabric: Fabric
) -> Encoding:
    if not config.trainable.encoder_is_frozen:
        return LearningEncoder(model.sam, fabric.autocast)
    variants = _variants(config) or 1
    shape = (num_samples * variants, model.spec.model_size, model.spec.model_size)
    return FrozenEncoder(
        model.sam, ZarrEmbeddingStore(folder, version_key(model), shape), variants, fabric.autocast
    )


def _semantic_term(model: LoadedModel, config: RunConfig, fabric: Fabric) -> SemanticTerm | None:
    if not config.objective.semantic_weight:
        return None
    decoder = build_semantic_decoder(SemanticDecoderSpec.for_encoder(model.spec), seed=config.seed)
    return SemanticTerm(decoder).train().to(fabric.device)
