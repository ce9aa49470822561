"""How long does the event loop stand still while a large scan is annotated?

    xvfb-run -s "-screen 0 1600x1000x24" python tools/measure_heartbeat.py

Opens napari with the widget on a scan of 200 x 512 x 512, draws a box, propagates through all slices, commits, undoes
and goes back, while a timer ticks every 5 ms. Prints for each of these the longest pause between two ticks, and for how
long the window's thread was at a processor in one: on a busy machine, and where a processor draws, pauses are longer
than what is computed in them. Our layers are made while the model is loaded, which is in the first line, too.

By default a model that answers at once takes the place of the real one, so that the pauses are the window's own;
--model NAME takes that model for as many slices as --slices says. --alone measures napari itself, with as many layers
of its own and no plugin: what no plugin can be faster than.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import napari
import numpy as np
import typer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_medicosam import session
from napari_medicosam.core.prompts import BoxPrompt
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.ui.factory import adopt
from napari_medicosam.ui.layers import MAKERS
from napari_medicosam.ui.session import AnnotationSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image


class Quick:
    """Answers with the ellipse in the box, at once."""

    mapping = None

    def service(self, settings, report):
        return self

    def is_embedded(self, plane, image_slice) -> bool:
        return True

    def embed(self, plane, image_slice) -> None:
        pass

    def fetch_ahead(self, plane, image_slice) -> None:
        pass

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        box = request.prompts.box or BoxPrompt(100, 100, 400, 380)
        rows, columns = np.mgrid[: request.image_slice.shape[0], : request.image_slice.shape[1]]
        y, x = (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2
        mask = ((rows - y) / (box.y1 - box.y0)) ** 2 + ((columns - x) / (box.x1 - box.x0)) ** 2 < 0.25
        return SegmentResult(
            request.plane,
            mask,
            Region.of_mask(mask),
            0.9,
            np.zeros((4, 4), np.float32),
            request.object_id,
            request.generation,
        )


class Heart:
    """Ticks, and remembers the longest pause, and the longest computation in one, since it was last asked."""

    def __init__(self) -> None:
        self._last, self._longest = (time.perf_counter(), time.thread_time()), (0.0, 0.0)
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        pause, computed = now[0] - self._last[0], now[1] - self._last[1]
        self._longest = (max(self._longest[0], pause), max(self._longest[1], computed))
        self._last = now

    def rest(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()

    def ask(self) -> tuple[float, float]:
        """Both in seconds."""
        self.rest(0.3)
        longest, self._longest = self._longest, (0.0, 0.0)
        return longest


def main(
    model: Annotated[str | None, typer.Option()] = None,
    slices: Annotated[int, typer.Option()] = 200,
    alone: Annotated[bool, typer.Option("--alone")] = False,
) -> None:
    """Print the longest pause and computation of each step in milliseconds."""
    scan = np.random.default_rng(0).integers(-1000, 1000, (200, 512, 512), dtype=np.int16)
    viewer = napari.Viewer(show=True)
    layer = viewer.add_image(scan, scale=(1.5, 0.7, 0.7), units="mm", name="scan")
    if alone:
        time_steps(Heart(), steps_of_napari(viewer, layer))
        viewer.close()
        return
    if model is None:
        adopt(AnnotationSession(viewer, engine=Quick()))
    annotation = session(viewer)
    viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    annotation.set_image(layer)
    if model is not None:
        annotation.set_model(model)
    viewer.dims.set_current_step(0, 100)
    heart = Heart()
    heart.rest(0.2)
    heart.ask()
    first = 100 - slices // 2

    def layers_made() -> None:
        while len(annotation.own_layers) < len(MAKERS):
            heart.rest(0.1)

    steps = {
        "our layers, made one by one": layers_made,
        "nothing": lambda: None,
        "the first tool": lambda: setattr(annotation, "tool", "box"),
        "another slice": lambda: viewer.dims.set_current_step(0, 101),
        "back": lambda: viewer.dims.set_current_step(0, 100),
        "a box": lambda: annotation.add_box(100, (100, 100, 400, 380)),
        "a point": lambda: annotation.add_point((100, 250, 240)),
        f"propagation through {slices} slices": lambda: annotation.propagate(
            "both", (first, first + slices), mode="box", box_extension=0.0
        ),
        "a stroke": lambda: annotation.add_scribble(90, [(200, 200), (260, 300)]),
        "commit": annotation.commit,
        "undo": annotation.undo,
        "redo": annotation.redo,
        "a prompt that opens it again": lambda: annotation.add_point((101, 250, 240)),
        "clean-up": lambda: annotation.clean_up(largest_component=True),
        "another object": annotation.new_object,
    }
    time_steps(heart, steps, lambda: annotation.is_busy)
    viewer.close()


def steps_of_napari(viewer: napari.Viewer, image: Image) -> dict[str, Callable[[], object]]:
    """With the kinds of layers that the plugin has."""
    grid = {"scale": image.scale, "units": image.units}
    masks = [np.zeros(image.data.shape, np.uint16) for _ in range(2)]
    corners = ((100, 100), (100, 380), (400, 380), (400, 100))
    steps: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "labels made": lambda: viewer.add_labels(masks[0], **grid),
        "labels made again": lambda: viewer.add_labels(masks[1], **grid),
        "shapes made": lambda: viewer.add_shapes(ndim=3, **grid),
        "shapes made again": lambda: viewer.add_shapes(ndim=3, **grid),
        "points made": lambda: viewer.add_points(ndim=3, **grid),
        "to the middle": lambda: viewer.dims.set_current_step(0, 100),
        "another slice": lambda: viewer.dims.set_current_step(0, 101),
        "back": lambda: viewer.dims.set_current_step(0, 100),
        "a box": lambda: viewer.layers[-3].add_rectangles([[100, *corner] for corner in corners]),
        "a point": lambda: viewer.layers[-1].add([100, 250, 240]),
        "a stroke": lambda: viewer.layers[1].paint((100, 250, 240), 1),
    }
    return steps


def time_steps(
    heart: Heart, steps: dict[str, Callable[[], object]], is_busy: Callable[[], bool] = lambda: False
) -> None:
    """Take them, and print what each cost."""
    heart.ask()
    for name, act in steps.items():
        act()
        while is_busy():
            heart.rest(0.05)
        pause, computed = heart.ask()
        print(f"{name}: {1000 * pause:.0f} ms, of which computing {1000 * computed:.0f} ms", flush=True)


if __name__ == "__main__":
    typer.run(main)
