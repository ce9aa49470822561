"""The options of the commands, each once: what `--help` says and what typer parses. Those of one theme are a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medicosam.predict.zoom import DEFAULT_ZOOM
from napari_medicosam.weights.registry import DEFAULT_MODEL


def _option(panel: str, *names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


_PROMPTS, _MODEL, _PROPAGATION = "Prompts", "Model and image", "Propagation"
_CLEAN_UP, _RESULTS = "Clean-up of each object", "Results"

_Z_RANGE = "START,STOP: only slices START <= z < STOP along the axis."

Model = Annotated[
    str,
    _option(_MODEL, "--model", "-m", text="A name that `medicosam models` lists, or a checkpoint file."),
]
Device = Annotated[
    str | None, _option(_MODEL, "--device", text="cpu, cuda or mps; default: the best there is.")
]
Runtime = Annotated[
    str | None,
    _option(
        _MODEL,
        "--runtime",
        text="What runs the image encoder: auto, torch, openvino, openvino-int8, torch-half or eager. Default: "
        "NAPARI_MEDICOSAM_RUNTIME, else auto.",
    ),
]
Embeddings = Annotated[
    Path | None, _option(_MODEL, "--embeddings", text="Folder of embeddings to reuse, resume and add to.")
]
EmbeddingsFolder = Annotated[Path, typer.Option("--embeddings", help="Folder to keep the embeddings in.")]
ZRange = Annotated[str | None, typer.Option("--z-range", help=_Z_RANGE)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DemoFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the labels and the picture.")]


@dataclass(frozen=True, slots=True)
class EncodingOptions:
    """With which model the slices of an image are encoded, and how they are shown to it."""

    model: Model = DEFAULT_MODEL
    axis: Annotated[
        str, _option(_MODEL, "--axis", text="Axis to cut slices along: 0, 1, 2, or axial, coronal, sagittal.")
    ] = "0"
    window: Annotated[
        str | None,
        _option(
            _MODEL,
            "--window",
            text="Intensities shown to the model: ct-soft-tissue, ct-lung, ct-bone, ct-brain, ct-liver, LOW,HIGH, "
            "percentile, minmax, identity or auto. One mapping for the whole volume. Default: what the model wants.",
        ),
    ] = None
    device: Device = None
    embedding_dtype: Annotated[
        str,
        _option(
            _MODEL,
            "--embedding-dtype",
            text="What embeddings are kept as: float16, float32, or int8 for half the space of float16. A folder may "
            "hold several; only those of one kind are reused.",
        ),
    ] = "float16"
    runtime: Runtime = None


@dataclass(frozen=True, slots=True)
class SegmentOptions(EncodingOptions):
    """The same, and how objects are looked at."""

    embeddings: Embeddings = None
    zoom: Annotated[
        str,
        _option(
            _MODEL,
            "--zoom",
            text="Look at small objects in a view around them instead of the whole slice: never, auto or always "
            "(where anything is gained).",
        ),
    ] = DEFAULT_ZOOM.policy


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What is to be segmented."""

    point: Annotated[
        list[str] | None,
        _option(
            _PROMPTS,
            "--point",
            text="Z,Y,X,+ (the object) or Z,Y,X,- (not the object), in voxels. Repeatable.",
        ),
    ] = None
    box: Annotated[
        list[str] | None,
        _option(
            _PROMPTS,
            "--box",
            text="Z,Y0,X0,Y1,X1 in voxels: slice, then half-open rows and columns. Repeatable.",
        ),
    ] = None
    prompts: Annotated[
        Path | None,
        _option(
            _PROMPTS,
            "--prompts",
            text="JSON with many objects: id, name, points, boxes, mask. Of many images: a folder of them, by name.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class PropagationOptions:
    """Masks through depth; what is None stays as `PropagationSettings` has it."""

    propagate: Annotated[
        bool,
        _option(
            _PROPAGATION, "--propagate", text="Also segment the slices around and between the prompted ones."
        ),
    ] = False
    mode: Annotated[
        str | None,
        _option(
            _PROPAGATION,
            "--mode",
            text="Prompts a slice gives the next: box, mask, points, points_and_mask, single_point, or box, mask, "
            "points joined by +.",
        ),
    ] = None
    between: Annotated[
        str | None,
        _option(
            _PROPAGATION,
            "--between",
            text="Ask slices between two prompted ones with the shape between the two (shapes), or with the masks "
            "of their neighbours (neighbours).",
        ),
    ] = None
    iou_threshold: Annotated[
        float | None,
        _option(_PROPAGATION, "--iou-threshold", text="Stop where neighbouring masks agree less than this."),
    ] = None
    min_confidence: Annotated[
        float | None,
        _option(
            _PROPAGATION,
            "--min-confidence",
            text="Stop where the predicted IoU falls below this share of the prompted slice's; 0 does not look at it.",
        ),
    ] = None
    box_extension: Annotated[
        float | None,
        _option(
            _PROPAGATION,
            "--box-extension",
            text="Growth of the box from slice to slice: < 1 a fraction, else pixels.",
        ),
    ] = None
    box_extension_mm: Annotated[
        float | None,
        _option(_PROPAGATION, "--box-extension-mm", text="Growth of the box in mm a side instead."),
    ] = None
    likeness: Annotated[
        float | None,
        _option(
            _PROPAGATION,
            "--likeness",
            text="How much it counts against the confidence when the model sees something else in a mask than in the "
            "object on the prompted slices; 0: not at all.",
        ),
    ] = None
    appearance: Annotated[
        float | None,
        _option(
            _PROPAGATION,
            "--appearance",
            text="How much brightness on the prompted slices counts beside the model, so that masks do not leak into "
            "what looks different; 0: not at all.",
        ),
    ] = None
    z_range: Annotated[
        str | None,
        _option(_PROPAGATION, "--z-range", text=_Z_RANGE),
    ] = None
    three_planes: Annotated[
        bool,
        _option(
            _PROPAGATION,
            "--three-planes",
            text="Follow each object along the two other axes, too, and keep what two of the three say.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class CleanUpOptions:
    """What is done with the mask of an object at the end, in the words of `core.post_processing.CleanUp`."""

    largest: Annotated[bool, _option(_CLEAN_UP, "--largest", text="Keep only the largest piece.")] = False
    fill_holes: Annotated[
        str, _option(_CLEAN_UP, "--fill-holes", text="no, slices (within a slice) or volume (on all sides).")
    ] = "no"
    smooth: Annotated[
        float,
        _option(
            _CLEAN_UP, "--smooth", text="Smooth the surface by so many mm; parts thinner than twice that go."
        ),
    ] = 0.0
    min_size: Annotated[
        float, _option(_CLEAN_UP, "--min-size", text="Remove pieces of less than so many mm3.")
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """What is written, and what may be replaced."""

    output: Annotated[
        Path,
        _option(
            _RESULTS,
            "--output",
            "-o",
            text="Label map to write; the suffix says the format. Of many images: a folder.",
        ),
    ]
    report: Annotated[
        Path | None,
        _option(
            _RESULTS, "--json", text="Write what was found: slices, voxels, mm3, predicted IoU, settings."
        ),
    ] = None
    overlap: Annotated[
        str,
        _option(
            _RESULTS,
            "--overlap",
            text="Where two objects claim a voxel: error, first or last one listed wins.",
        ),
    ] = "error"
    overwrite: Annotated[
        bool, _option(_RESULTS, "--overwrite", text="Replace LABELS and REPORT if they exist.")
    ] = False
