"""What a training run is: one frozen record a component, read from YAML and checked before anything starts."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medicosam.errors import TrainingError

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=0.5)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectiveConfig(_Record):
    """Algorithm 1 of the paper (section II-B); the names in brackets are the paper's."""

    variant: Literal["paper", "reference"] = Field(
        default="paper",
        description="reference: as the published code departs from the paper. Whole batches alternate between "
        "point and box, every image gives as many objects as the poorest of its batch, the mask prompt is drawn "
        "once a step for all objects, and the first step gets an all-zero mask prompt when it was drawn",
    )
    num_objects: Count = Field(default=5, description="objects drawn from each image (n_obj)")
    num_corrections: Annotated[int, Field(ge=0)] = Field(
        default=8, description="simulated corrections (n_steps)"
    )
    box_probability: Probability = Field(default=0.5, description="start with a box, not a point (p_box)")
    mask_probability: Probability = Field(default=0.0, description="feed the last logits back (p_mask)")
    box_outward: Share = Field(default=0.0, description="a box side moves outward by at most this share")
    box_inward: Share = Field(default=0.0, description="and inward by at most this share")
    clicks: tuple[Count, ...] = Field(
        default=(1,), min_length=1, description="clicks a correction, drawn from these: see click_rule"
    )
    click_rule: Literal["signs", "errors"] = Field(
        default="signs",
        description="signs: so many positive clicks on what was missed, and as many negative ones on what is too "
        "much. errors: so many in all, anywhere in what is wrong (SAM-Med2D)",
    )
    prompt_encoder_gradient: Literal["always", "start"] = Field(
        default="always", description="start: no gradient of the prompt encoder in corrections (SAM-Med2D)"
    )
    iou_weight: NotNegative = 1.0
    bce_weight: NotNegative = Field(
        default=0.0, description="weight of binary cross entropy beside soft Dice"
    )
    semantic_weight: NotNegative = Field(
        default=0.0, description="weight of the semantic decoder's term (e_sem)"
    )
    objects_per_call: Count = Field(default=4, description="objects that share one decoder call; speed only")


class TrainableConfig(_Record):
    """Which parts learn; the others keep their weights bit for bit."""

    image_encoder: Literal["all", "frozen", "adapters"] | Annotated[tuple[str, ...], Field(min_length=1)] = (
        Field(
            default="all",
            description="or prefixes of parameter names inside the encoder, such as layers.2, neck",
        )
    )
    prompt_encoder: bool = True
    mask_decoder: bool = True

    @property
    def encoder_is_frozen(self) -> bool:
        """True when embeddings do not change during the run, so that they can be stored."""
        return self.image_encoder == "frozen"


class OptimizerConfig(_Record):
    """AdamW and its learning rate."""

    lr: Annotated[float, Field(gt=0)] = 1e-5
    encoder_lr: Annotated[float, Field(gt=0)] | None = Field(default=None, description="null: as lr")
    weight_decay: NotNegative = 0.01
    schedule: Literal["epoch_decay", "cosine", "constant", "trapezoid"] = Field(
        default="epoch_decay",
        description="epoch_decay: the paper's, lr x decay after each epoch. trapezoid: constant, then down to 0 over "
        "the last cooldown_steps",
    )
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="decay of the moving average of the weights, which is then what a run gives; 0: none",
    )


class AugmentationConfig(_Record):
    """What may happen to an image before the model sees it; all zero leaves images as they are."""

    crop_probability: Probability = Field(default=0.0, description="show a region around one object instead")
    crop_context: tuple[float, float] = Field(
        default=(1.5, 4.0), description="side of that region in units of the object's longer side: from, to"
    )
    flip_probability: Probability = 0.0
    quarter_turn_probability: Probability = 0.0
    affine_probability: Probability = 0.0
    rotation_degrees: NotNegative = 15.0
    scale: tuple[float, float] = (0.85, 1.2)
    intensity_probability: Probability = Field(
        default=0.0, description="brightness, contrast, gamma, inversion"
    )
    tint_probability: Probability = Field(
        default=0.0, description="each colour channel a gamma of its own, so that grey images become coloured"
    )
    inversion_probability: Probability = 0.0
    blur_noise_probability: Probability = 0.0

    @model_validator(mode="after")
    def _check(self) -> AugmentationConfig:
        for name, least in (("crop_context", 1.0), ("scale", 0.1)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ValueError(
                    f"{name} wants two numbers FROM <= TO, at least {least:g}, got {low}, {high}"
                )
        return self


class DataConfig(_Record):
    """Folders (see docs/data_layouts.md) and how they are drawn from."""

    train: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = Field(default=(), description="empty: a part of train, patient by patient")
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    min_pixels: Count = 20
    window: str = Field(default="auto", description="intensities of volumes and 16-bit images")
    balance: Probability = Field(
        default=0.0,
        description="0 draws images alike, 1 data sets alike, between: size to the power 1 - balance",
    )
    modality_balance: Probability | None = Field(
        default=None,
        description="null: modalities do not count. Else a modality is drawn before one of its data sets: 0 by its "
        "size, 1 all alike",
    )
    variants: Count | None = Field(
        default=None, description="augmented versions of an image; null: a new one each time. A frozen encoder's "
        "embeddings are stored for each"
    )  # fmt: skip
    num_workers: Annotated[int, Field(ge=0)] = 0
    augmentation: AugmentationConfig = AugmentationConfig()


class ValidationConfig(_Record):
    """The interactive evaluation that picks the best weights."""

    every: Count = Field(default=1000, description="optimizer steps")
    baseline: bool = Field(default=True, description="also before the first step")
    num_corrections: Annotated[int, Field(ge=0)] = 8
    mask_prompt: bool = False
    max_objects: Count | None = Field(default=20, description="objects a data set; null: all")


class RunConfig(_Record):
    """One training run."""

    name: str = "run"
    model: str = Field(description="registry name or checkpoint path to start from")
    architecture: str | None = Field(
        default=None,
        description="spec to become, when it is not the weights' own: other input size, adapters",
    )
    seed: int = 0
    num_steps: Count = Field(default=300_000, description="optimizer steps")
    small_size: Count | None = Field(
        default=None,
        description="side of the input in pixels during the first small_steps (TinyViT only): half the side costs a "
        "quarter of the time",
    )
    small_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = Field(default=56, description="images a step, over all processes and micro-batches")
    micro_batch: Count | None = Field(
        default=None, description="images encoded at once; null: all of a process"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    checkpoint_every: Count = 500
    log_every: Count = 10
    objective: ObjectiveConfig = ObjectiveConfig()
    trainable: TrainableConfig = TrainableConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        parts = self.trainable
        if parts.encoder_is_frozen and not (parts.prompt_encoder or parts.mask_decoder):
            raise ValueError(
                "nothing is trainable: wanted at least one of encoder, prompt encoder, mask decoder"
            )
        if self.small_steps and (self.small_size is None or parts.encoder_is_frozen):
            raise ValueError(
                "small_steps needs small_size, and an encoder that learns: stored embeddings have one size"
            )
        return self


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets."""
    folder = resources.files("napari_medicosam.training") / "presets"
    return tuple(sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_preset(name: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """A shipped preset, changed as in `load_config`; `TrainingError` for an unknown name."""
    if name not in preset_names():
        raise TrainingError(f"unknown preset {name!r}: wanted one of {', '.join(preset_names())}")
    text = (resources.files("napari_medicosam.training") / "presets" / f"{name}.yaml").read_text("utf-8")
    return parse_config(text, f"preset {name}", changes)


def load_config(path: Path, changes: dict[str, Any] | None = None) -> RunConfig:
    """Read a run's YAML; `TrainingError` when it is missing or wrong, with every field that is."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"cannot read the training config {path}: {error}") from error
    return parse_config(text, str(path), changes)


def parse_config(text: str, origin: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """YAML to a checked config; `changes` are `section.key` and what replaces it."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainingError(
            f"{origin} holds a {type(content).__name__}, wanted keys such as model, data, objective"
        )
    for dotted, value in (changes or {}).items():
        *sections, key = dotted.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise TrainingError(f"cannot set {dotted}: {section} is not a section of {origin}")
        inner[key] = value
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}"
            + (f", got {e['input']!r}" if e["loc"] and not isinstance(e["input"], dict) else "")
            for e in error.errors()
        ]
        raise TrainingError(f"{origin} cannot be used: " + "; ".join(wrong)) from error


def config_text(config: RunConfig) -> str:
    """The config as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
