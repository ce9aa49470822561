"""One run in its folder: made or gone on with, logged, validated, saved.

config.yaml            what runs, as given
run.json               versions, device, digests of data and starting weights, what was found in the data
training.csv           one line every few steps
validation.csv         one line a validation
tensorboard/           the same, for TensorBoard
pictures/              what the model finds, at each validation
last.pt                checkpoint: weights, their average, optimizer, step
best.safetensors       weights of the best validation; with a semantic decoder, best_semantic_decoder.safetensors
last.safetensors       weights at the end, or where the run was stopped; the same for the semantic decoder
embeddings/            of a frozen encoder
model_card.md          what was trained how, and how good it is
"""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from napari_medicosam.errors import TrainingError
from napari_medicosam.models.checkpoints import save_model
from napari_medicosam.models.semantic_decoder_2d import save_semantic_decoder
from napari_medicosam.training.checkpoint import RunState, load_state, save_state
from napari_medicosam.training.config import config_text, load_config
from napari_medicosam.training.optimizer import WeightAverage
from napari_medicosam.training.record import append_row, check_start, forget_after, write_record
from napari_medicosam.training.setup import build_learner, learned_parameters
from napari_medicosam.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lightning.fabric import Fabric
    from torch import Tensor, nn

    from napari_medicosam.io.samples import Sample
    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.training.trainer import Learner, StepReport
    from napari_medicosam.weights.loading import LoadedModel


_MAY_CHANGE = ("num_steps", "validation", "log_every", "checkpoint_every")
"""What a run that goes on may have otherwise than it began: none of it changes what a step does."""


class Validator(Protocol):
    """Judges a model; given to the run from above, since evaluation lies on a higher floor."""

    def __call__(self, model: LoadedModel, step: int) -> Mapping[str, float]:
        """Named numbers; `score` is what the best weights are chosen by, higher is better."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a run tells while it goes on.

    Attributes:
        validate: judges the model, or None.
        on_step: after each step.
        on_validation: after each validation, with its numbers.
        should_stop: asked after each step; True ends the run after saving it.
    """

    validate: Validator | None = None
    on_step: Callable[[StepReport], None] = lambda report: None
    on_validation: Callable[[int, Mapping[str, float]], None] = lambda step, numbers: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(slots=True, eq=False)
class Run:
    """A run that is being trained: see `open_run`.

    Attributes:
        step: optimizer steps done.
        best_score, best_step: of the best validation so far.
    """

    folder: Path
    config: RunConfig
    fabric: Fabric
    model: LoadedModel
    learner: Learner
    average: WeightAverage
    hooks: Hooks
    step: int = 0
    best_score: float = -math.inf
    best_step: int = 0
    _started: float = field(default_factory=time.monotonic)
    _tensorboard: Any = field(default=None, repr=False)

    def go(self) -> None:
        """Train to the config's last step, or until asked to stop; everything is saved either way.

        Raises:
            TrainingError: when a step went wrong or a file cannot be written; the last checkpoint stays.
        """
        if self.step == 0 and self.config.validation.baseline:
            self._validate()
        train(self.fabric, self.learner, self.config, self.step, self._after_step)
        self._save()
        if self.fabric.is_global_zero:
            with self.average.applied():
                self._save_weights("last")
        self.fabric.barrier()

    @property
    def is_finished(self) -> bool:
        """True when no step is left."""
        return self.step >= self.config.num_steps

    def _after_step(self, report: StepReport) -> bool:
        self.step = report.step
        self.average.update(report.step)
        if report.step % self.config.log_every == 0 or self.is_finished:
            self._log("training", {**report.as_row(), "seconds": time.monotonic() - self._started})
        self.hooks.on_step(report)
        if report.step % self.config.validation.every == 0 or self.is_finished:
            self._validate()
        if report.step % self.config.checkpoint_every == 0 and not self.is_finished:
            self._save()
        stop = self.hooks.should_stop()
        return not (self.fabric.broadcast(stop) if self.fabric.world_size > 1 else stop)

    def _validate(self) -> None:
        """Judge the averaged weights; the best so far are written beside the run's other files."""
        if self.hooks.validate is None or not self.fabric.is_global_zero:
            return
        with self.average.applied(), _all_threads(self.fabric):
            model = replace(self.model, name=self.folder.name, weights_sha256=self._encoder_sha256())
            numbers = self.hooks.validate(model, self.step)
            score = numbers.get("score", -math.inf)
            if score > self.best_score:
                self.best_score, self.best_step = score, self.step
                self._save_weights("best")
        self._log("validation", {"step": self.step, **numbers})
        self.hooks.on_validation(self.step, numbers)

    def _save_weights(self, name: str) -> None:
        save_model(self.model.sam, self.folder / f"{name}.safetensors", overwrite=True)
        if self.learner.semantic is not None:
            path = self.folder / f"{name}_semantic_decoder.safetensors"
            save_semantic_decoder(self.learner.semantic.decoder, path, overwrite=True)

    def _encoder_sha256(self) -> str:
        """Names embeddings: those of a frozen encoder stay what they were, others are new at each step."""
        if self.config.trainable.encoder_is_frozen:
            return self.model.weights_sha256
        return hashlib.sha256(
            f"{self.model.weights_sha256} {self.config.seed} {self.step}".encode()
        ).hexdigest()

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        parameters = learned_parameters(self.model, self.learner.semantic)
        semantic = self.learner.semantic
        state = RunState(
            step=self.step,
            semantic={} if semantic is None else semantic.state_dict(),
            learned={name: parameter.detach() for name, parameter in parameters.items()},
            average=self.average.values,
            optimizer=self.learner.optimizer.state_dict(),
            best_score=self.best_score,
            best_step=self.best_step,
            scaler=self.fabric.strategy.precision.state_dict(),
        )
        save_state(self.folder / "last.pt", state)

    def _log(self, name: str, row: Mapping[str, float]) -> None:
        if not self.fabric.is_global_zero:
            return
        append_row(self.folder / f"{name}.csv", row)
        if self._tensorboard is None:
            from torch.utils.tensorboard import (
                SummaryWriter,  # slow to import, and not needed to look at a run
            )

            self._tensorboard = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step)
        for key, value in row.items():
            if key != "step" and math.isfinite(value):
                self._tensorboard.add_scalar(f"{name}/{key}", value, int(row["step"]))
        self._tensorboard.flush()


@contextmanager
def _all_threads(fabric: Fabric) -> Iterator[None]:
    """On a CPU the other processes wait meanwhile, so this one may use their threads."""
    before = torch.get_num_threads()
    if fabric.device.type == "cpu":
        torch.set_num_threads(before * fabric.world_size)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_run(
    folder: Path,
    config: RunConfig,
    samples: Sequence[Sample],
    hooks: Hooks,
    fabric: Fabric,
    data: Mapping[str, Any] | None = None,
) -> Run:
    """Make a run's folder, or go on with the run that is in it.

    Args:
        folder: new, empty, or of a run with an equal config but for its length, validation and log.
        config: the run.
        samples: to train on, checked.
        hooks: validation, progress.
        fabric: launched (`make_fabric`).
        data: what is known of the data, for `run.json`.

    Raises:
        TrainingError: for a folder with something else in it, a run with another config, or a damaged checkpoint.
    """
    state = _prepare_folder(folder, config, fabric)
    model, learner = build_learner(config, samples, fabric, folder / "embeddings")
    parameters = learned_parameters(model, learner.semantic)
    of_sam = {name: parameter for name, parameter in parameters.items() if name.startswith("sam.")}
    average = WeightAverage(of_sam, config.optimizer.average)
    run = Run(folder, config, fabric, model, learner, average, hooks)
    if state is not None:
        check_start(folder / "run.json", model)
        _restore(parameters, state.learned)
        _restore(average.values, state.average)
        learner.optimizer.load_state_dict(state.optimizer)
        fabric.strategy.precision.load_state_dict(state.scaler)
        if learner.semantic is not None:
            learner.semantic.load_state_dict(state.semantic)
        run.step, run.best_score, run.best_step = state.step, state.best_score, state.best_step
    if fabric.is_global_zero:
        for name in ("training", "validation"):
            forget_after(folder / f"{name}.csv", run.step if state is not None else -1)
        if state is None:
            write_record(folder / "run.json", config, model, data or {}, fabric.world_size)
    return run


def _prepare_folder(folder: Path, config: RunConfig, fabric: Fabric) -> RunState | None:
    """The state to go on from, or None for a new run, whose folder then exists."""
    known = folder / "config.yaml"
    if not known.exists():
        if folder.exists() and any(folder.iterdir()):
            raise TrainingError(
                f"{folder} is not empty and holds no run: wanted a new folder, or that of a run"
            )
        fabric.barrier()
        if fabric.is_global_zero:
            _write_config(folder, config)
        fabric.barrier()
        return None
    before = load_config(known)
    different = [
        name
        for name in type(config).model_fields
        if name not in _MAY_CHANGE and getattr(before, name) != getattr(config, name)
    ]
    if different:
        raise TrainingError(
            f"{folder} holds a run with another {', '.join(different)}: give the config of that run to go on "
            "with it, or another folder for a new one"
        )
    if fabric.is_global_zero and before != config:
        _write_config(folder, config)
    last = folder / "last.pt"
    return load_state(last) if last.exists() else None


def _write_config(folder: Path, config: RunConfig) -> None:
    beside = folder / ".config.yaml.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_text(config_text(config), "utf-8")
        beside.replace(folder / "config.yaml")
    except OSError as error:
        raise TrainingError(f"cannot write the run's folder {folder}: {error}") from error


def _restore(values: Mapping[str, Tensor | nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    different = sorted(values.keys() ^ saved.keys())
    if different:
        raise TrainingError(f"the checkpoint and the model differ in what learns, first in {different[0]!r}")
    with torch.no_grad():
        for name, value in values.items():
            value.copy_(saved[name])
