"""Simulated annotation: how good a mask gets when a careful annotator corrects it click by click.

For every object a first prompt (its tight box, or the point farthest from its boundary), then corrections with one
positive click on what was missed and one negative click on what is too much; section II-E of the MedicoSAM paper.
Models are asked through the service that the widget and the commands ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.metrics import dice, iou, surface_distance
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.core.simulated_prompts import draw_correction, innermost_point, jittered_box, tight_box
from napari_medicosam.errors import InputError
from napari_medicosam.evaluation.selection import by_dataset, plan, seeded_generator
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZOOM_POLICIES, ZoomRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.evaluation.selection import ImageTask
    from napari_medicosam.io.samples import Sample
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime, Precision
    from napari_medicosam.weights.loading import LoadedModel

STARTS = ("point", "box")
"""First prompts there are."""

Progress = Callable[[float], None]
"""Called with the share of an image that was done since the last call."""

POOL_BYTES = 512 * 1024**2
"""Embeddings kept in memory: those of the image at hand, views of its objects included."""

IDENTITY = IntensityMapping("identity")
"""Samples give images as the model is to see them."""


@dataclass(frozen=True, slots=True)
class InteractiveSettings:
    """How annotation is simulated. The defaults are those of the paper.

    Attributes:
        starts: first prompts that are tried, each on its own.
        num_corrections: clicks (pairs of them) after the first prompt.
        mask_prompt: whether the last low-res logits are fed back as mask prompt in corrections.
        seeds: each repeats all draws.
        zoom: whether the model is shown a view around a small object instead of the whole image.
        zoom_rule: which view; its own policy does not count.
        max_objects: a data set, None for all of them.
        box_outward: sides of the first box are moved outward by up to this share of its height or width; 0 keeps
            it tight.

    Raises:
        InputError: for anything that cannot be run.
    """

    starts: tuple[str, ...] = STARTS
    num_corrections: int = 8
    mask_prompt: bool = False
    seeds: tuple[int, ...] = (0,)
    zoom: str = "never"
    max_objects: int | None = None
    box_outward: float = 0.0
    zoom_rule: ZoomRule = field(default_factory=ZoomRule)

    def __post_init__(self) -> None:
        _check_distinct("starts", self.starts, STARTS)
        _check_distinct("seeds", self.seeds)
        if self.zoom not in ZOOM_POLICIES:
            raise InputError(f"zoom must be one of {', '.join(ZOOM_POLICIES)}, got {self.zoom!r}")
        if self.num_corrections < 0:
            raise InputError(f"the number of corrections must be 0 or more, got {self.num_corrections}")
        if self.max_objects is not None and self.max_objects < 1:
            raise InputError(f"the number of objects a data set must be 1 or more, got {self.max_objects}")
        if not 0 <= self.box_outward < 1:
            raise InputError(f"box_outward must be a share 0 <= share < 1, got {self.box_outward}")


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One mask of one object, measured.

    Attributes:
        model, dataset, modality, image: names; `image` is the sample id.
        object: place of the object in its image.
        class_id: the label it has in the ground truth.
        object_share: its area as a share of the image.
        seed, start, mask_prompt, zoom: settings of this run.
        round: 0 after the first prompt, then counts corrections.
        dice, iou: of mask and ground truth.
        surface_distance: mean symmetric surface distance in pixels of the image.
        iou_prediction: the model's own estimate.
    """

    model: str
    dataset: str
    modality: str
    image: str
    object: int
    class_id: int
    object_share: float
    seed: int
    start: str
    mask_prompt: bool
    zoom: str
    round: int
    dice: float
    iou: float
    surface_distance: float
    iou_prediction: float


def evaluate(
    model: LoadedModel,
    samples: Sequence[Sample],
    settings: InteractiveSettings,
    progress: Progress | None = None,
    store: EmbeddingStore | None = None,
) -> Iterator[ObjectScore]:
    """Simulated annotation of one model on any number of data sets, as a generator: to stop is to close it.

    Args:
        model: in memory; its `name` goes into the scores.
        samples: of one or many data sets; an image is encoded once for all its objects, starts and seeds.
        settings: see there.
        progress: called with the share of an image that was done; the shares sum up to at most `len(samples)`.
        store: where embeddings come from and go to, made for this model and `IDENTITY`; memory by default. A store on
            disk holds one data set, with the images by sample id as its slices along axis 0.

    Yields:
        Scores image by image; those of an object, start and seed follow one another by round.

    Raises:
        InputError: for samples that cannot be told apart; `FileError` or `InputError` for one that cannot be read.
    """
    if store is None:
        store = memory_store(model, MemoryEmbeddingStore(POOL_BYTES))
    service = make_service(model, store, settings)
    for of_dataset in by_dataset(samples).values():
        for task in plan(of_dataset, settings.max_objects):
            yield from evaluate_image(service, task, settings, progress)


def memory_store(
    model: LoadedModel, pool: MemoryEmbeddingStore, precision: Precision = "float32"
) -> EmbeddingStore:
    """The store in a memory pool that evaluation of this model, encoded in `precision`, reads and fills."""
    return pool.bind(EmbeddingKey(model.spec, model.weights_sha256, IDENTITY, precision=precision))


def make_service(
    model: LoadedModel,
    store: EmbeddingStore,
    settings: InteractiveSettings,
    runtime: EncoderRuntime | None = None,
) -> SegmentationService:
    """The service that is asked about images of samples; a runtime has the precision of the store, None is torch's."""
    rule = replace(settings.zoom_rule, policy=settings.zoom)
    return SegmentationService(model, IDENTITY, store, rule, runtime)


def evaluate_image(
    service: SegmentationService,
    task: ImageTask,
    settings: InteractiveSettings,
    progress: Progress | None = None,
) -> list[ObjectScore]:
    """Simulated annotation of the chosen objects of one image, each for itself.

    Args:
        service: of `make_service`, for the same zoom.
        task: image and objects.
        settings: see there.
        progress: called with the share of the image that was done; the shares sum up to 1.

    Returns:
        Scores by object, start, seed and round.
    """
    scores: list[ObjectScore] = []
    for number in task.objects:
        annotator = _Annotator(service, task, settings, number)
        for start in settings.starts:
            scores.extend(annotator.annotate(start))
        if progress is not None:
            progress(1 / len(task.objects))
    if progress is not None and not task.objects:
        progress(1.0)
    return scores


def annotate_object(
    service: SegmentationService, task: ImageTask, settings: InteractiveSettings, number: int, start: str
) -> list[NDArray[np.bool_]]:
    """Masks (rows, columns) of one object after the first prompt and each correction, with the first seed."""
    one_seed = replace(settings, seeds=settings.seeds[:1])
    answers = _Annotator(service, task, one_seed, number).answers(start)
    return [measured.answer.mask for _, _, measured in answers]


@dataclass(frozen=True, slots=True)
class _Measured:
    """An answer and its scores against the truth."""

    answer: SegmentResult
    dice: float
    iou: float
    surface_distance: float


class _Annotator:
    """Who annotates one object of one image, knowing its ground truth."""

    def __init__(
        self, service: SegmentationService, task: ImageTask, settings: InteractiveSettings, number: int
    ) -> None:
        self._service = service
        self._task = task
        self._settings = settings
        self._number = number
        self._object = task.image.objects[number]
        self._truth: NDArray[np.bool_] = self._object.in_slice(task.image.size_yx)

    def annotate(self, start: str) -> Iterator[ObjectScore]:
        """Scores of all seeds from one start."""
        for seed, number, measured in self.answers(start):
            yield self._score(measured, seed, start, number)

    def answers(self, start: str) -> Iterator[tuple[int, int, _Measured]]:
        """Seed, round and answer; a first prompt that is not drawn is asked once for all seeds."""
        drawn = start == "box" and self._settings.box_outward > 0
        first: _Measured | None = None
        for seed in self._settings.seeds:
            sample = self._task.sample
            rng = seeded_generator(seed, sample.dataset, sample.sample_id, self._number, start)
            prompts = self._first_prompts(start, rng)
            if first is None or drawn:
                first = self._ask(prompts, None)
            measured = first
            yield seed, 0, measured
            for number in range(1, self._settings.num_corrections + 1):
                clicks = draw_correction(self._truth, measured.answer.mask, rng)
                prompts = replace(prompts, points=(*prompts.points, *clicks))
                measured = self._ask(prompts, measured.answer)
                yield seed, number, measured

    def _first_prompts(self, start: str, rng: np.random.Generator) -> PromptSet:
        plane = SlicePlane(0, self._task.index)
        if start == "point":
            return PromptSet(plane, points=(innermost_point(self._truth),))
        outward = self._settings.box_outward
        box = jittered_box(self._truth, rng, outward) if outward > 0 else tight_box(self._truth)
        return PromptSet(plane, box=box)

    def _ask(self, prompts: PromptSet, previous: SegmentResult | None) -> _Measured:
        fed_back = previous if self._settings.mask_prompt else None
        answer = self._service.segment(
            SegmentRequest(
                self._task.image.image,
                prompts,
                previous_logits=None if fed_back is None else fed_back.low_res_logits,
                previous_view=None if previous is None else previous.view,
            )
        )
        mask, truth = answer.mask, self._truth
        return _Measured(answer, dice(mask, truth), iou(mask, truth), surface_distance(mask, truth))

    def _score(self, measured: _Measured, seed: int, start: str, number: int) -> ObjectScore:
        sample = self._task.sample
        return ObjectScore(
            model=self._service.model.name,
            dataset=sample.dataset,
            modality=sample.modality,
            image=sample.sample_id,
            object=self._number,
            class_id=self._object.class_id,
            object_share=self._object.num_pixels / self._truth.size,
            seed=seed,
            start=start,
            mask_prompt=self._settings.mask_prompt,
            zoom=self._settings.zoom,
            round=number,
            dice=measured.dice,
            iou=measured.iou,
            surface_distance=measured.surface_distance,
            iou_prediction=measured.answer.iou_prediction,
        )


def _check_distinct(name: str, got: Sequence[object], known: Sequence[object] | None = None) -> None:
    if not got or len(set(got)) < len(got) or (known is not None and not set(got) <= set(known)):
        wanted = "" if known is None else f" out of {', '.join(map(str, known))}"
        raise InputError(f"{name} must be one or more different values{wanted}, got {got}")
