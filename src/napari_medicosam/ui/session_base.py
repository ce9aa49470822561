"""What all methods of a session work with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.zoom import DEFAULT_ZOOM
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotated_images import AnnotatedImages
from napari_medicosam.ui.direction_letters import DirectionLetters, Letters
from napari_medicosam.ui.encoding_ahead import EncodingAhead
from napari_medicosam.ui.engine import Engine, ServiceSettings, ServiceSource, is_local
from napari_medicosam.ui.layers_ahead import LayersAhead
from napari_medicosam.ui.laying import Laying
from napari_medicosam.ui.pipeline import Pipeline
from napari_medicosam.ui.prompt_layers import PromptLayers
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.sizes import ObjectSizes
from napari_medicosam.ui.tasks import Worker
from napari_medicosam.ui.workbench import Workbench
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_medicosam.predict.tuning import TuningResult
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.series import SeriesSession


_HIDDEN = (0.0, 0.0, 0.0, 0.0)


class SessionBase:
    """The parts of a session, and what is being annotated. Arguments are those of `AnnotationSession`."""

    def __init__(
        self, viewer: Viewer, *, runner: Runner | None = None, engine: ServiceSource | None = None
    ) -> None:
        self.viewer = viewer
        self._model = DEFAULT_MODEL
        self.window = "auto"
        self.embeddings_folder: Path | None = None
        self.series: SeriesSession | None = None
        """The folder that the viewer goes through, once it does: see `napari_medicosam.series`."""
        self.zoom = DEFAULT_ZOOM
        self.classes = LabelClasses()
        self._shows_outlines = False
        self._propagation_settings = PropagationSettings()
        self._tuning: TuningResult | None = None
        self._runner = Runner() if runner is None else runner
        known = Engine() if engine is None else engine
        self._worker = Worker(known)
        self._layers = PromptLayers(viewer)
        self._laying = Laying(viewer)
        self._bench = Workbench(self._runner, self._worker, self._layers, self._settings)
        self._pipeline = Pipeline(self._bench)
        self.events = self._bench.events
        self._images = AnnotatedImages()
        self._sizes = ObjectSizes(self._bench)
        self._ahead = EncodingAhead(self._bench, viewer)
        self._layers_ahead = LayersAhead(self._bench, viewer)
        self._letters = DirectionLetters(viewer, self._layers, self.events.changed)

    @property
    def image(self) -> Image | None:
        """The image layer that is annotated."""
        return None if self._annotation is None else self._annotation.image

    @property
    def model(self) -> str:
        """Name of the model that is asked, or the path of its checkpoint file. Settable: as `set_model`."""
        return self._model

    @model.setter
    def model(self, name: str | Path) -> None:
        if not isinstance(name, (str, Path)):
            raise InputError(f"wanted the name of a model, or the path of a checkpoint file, got {name!r}")
        is_local(str(name))  # raises for a name that nobody knows
        self._model = str(name)
        self._images.forget_answers()
        self._ask_unasked()
        self.events.changed.emit()

    @property
    def directions(self) -> Letters:
        """Where the top, the right, the bottom and the left of the viewer's canvas are in the patient: R, L, A, ...

        As the letters on the canvas say; "" where nobody knows.
        """
        return self._letters.letters

    def class_name(self, class_id: int | None) -> str:
        """Name of a class; "" for None, and for one that is not known."""
        return self.classes.by_id(class_id).name if class_id is not None and class_id in self.classes else ""

    @property
    def is_3d(self) -> bool:
        """True for a volume of more than one slice."""
        return self._annotation is not None and self._annotation.image.ndim >= 3

    @property
    def num_slices(self) -> int:
        """Slices along the axis that the viewer shows; 0 when it shows none."""
        try:
            return self._wanted().shape_zyx[self._layers.axis()]
        except InputError:
            return 0

    @property
    def slice_index(self) -> int | None:
        """Number of the slice that the viewer shows; None when it shows none."""
        try:
            return self._layers.plane().index
        except InputError:
            return None

    @property
    def is_in_sight(self) -> bool:
        """False where the viewer is beside the image, at none of its slices, or shows none (3D)."""
        return self._annotation is not None and self._layers.is_at_a_slice

    @property
    def can_prompt(self) -> bool:
        """True where a prompt would do something: on a slice of the image, and for an object that is not locked."""
        known = self._annotation
        return known is not None and not known.table.record.is_locked and self.slice_index is not None

    @property
    def time(self) -> int:
        """The time point that is annotated; 0 for an image without."""
        return 0 if self._annotation is None else self._annotation.time

    @property
    def _annotation(self) -> Annotation | None:
        return self._layers.annotation

    def _wanted(self) -> Annotation:
        return self._layers.wanted()

    def _ask_unasked(self) -> None:
        """What was cancelled, or failed, is asked again where masks follow prompts by themselves."""
        annotation, questions = self._annotation, self._pipeline.questions
        if annotation is not None and questions.is_live and not annotation.table.record.is_locked:
            questions.ask_unasked()

    def _settings(self) -> ServiceSettings:
        return self._settings_on(self._wanted().volume)

    def _settings_on(self, volume: Any) -> ServiceSettings:
        return ServiceSettings(self.model, self.window, volume, self.embeddings_folder, self.zoom)

    def _show_colours(self) -> None:
        """Objects of a class are shown in its colour, hidden ones not at all."""
        annotation = self._annotation
        if annotation is None or annotation.object_layer is None:
            return
        records = annotation.table.records.values()
        colours: dict[int, tuple[float, ...]] = {
            record.object_id: self.classes.by_id(record.class_id).colour_rgba
            for record in records
            if record.class_id is not None and record.class_id in self.classes
        }
        colours |= {record.object_id: _HIDDEN for record in records if not record.is_visible}
        for layer in (annotation.object_layer, annotation.labels):
            if layer is not None:
                layers.set_colours(layer, colours)
                if self._shows_outlines:
                    layers.set_outline(layer, is_wanted=True)

    def _show_object(self) -> None:
        """After the current object or its prompts were replaced."""
        annotation = self._wanted()
        if annotation.ours.label_map("labels") is not None:  # the user may have removed layers
            self._layers.make_missing()
        self._layers.write(annotation.current)
        if annotation.object_layer is not None:
            annotation.object_layer.selected_label = annotation.object_id
            self._show_colours()
            self._layers.refresh()
        self.events.changed.emit()
