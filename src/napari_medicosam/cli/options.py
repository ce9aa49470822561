"""The options of the commands, each once: what `--help` says and what typer parses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Image = Annotated[Path, typer.Argument(help="NIfTI, NRRD, MHA, TIFF, PNG or JPEG; 2D, RGB or 3D.")]
Labels = Annotated[
    Path, typer.Option("--output", "-o", help="Label map to write; the suffix says the format.")
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A name that `medicosam models` lists, or a checkpoint file.")
]
Axis = Annotated[
    str, typer.Option("--axis", help="Axis to cut slices along: 0, 1, 2, or axial, coronal, sagittal.")
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Intensities shown to the model: ct-soft-tissue, ct-lung, ct-bone, ct-brain, ct-liver, LOW,HIGH, "
        "percentile, minmax, identity or auto. One mapping for the whole volume. Default: what the model wants.",
    ),
]
Points = Annotated[
    list[str] | None,
    typer.Option("--point", help="Z,Y,X,+ (the object) or Z,Y,X,- (not the object), in voxels. Repeatable."),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box", help="Z,Y0,X0,Y1,X1 in voxels: slice, then half-open rows and columns. Repeatable."
    ),
]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", help="JSON with many objects: id, name, points, boxes, mask.")
]
Propagate = Annotated[
    bool, typer.Option("--propagate", help="Also segment the slices around and between the prompted ones.")
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="Prompts a slice gives the next: box, mask, points, points_and_mask, single_point, or box, mask, "
        "points joined by +.",
    ),
]
IouThreshold = Annotated[
    float | None, typer.Option("--iou-threshold", help="Stop where neighbouring masks agree less than this.")
]
BoxExtension = Annotated[
    float | None,
    typer.Option(
        "--box-extension", help="Growth of the box from slice to slice: < 1 a fraction, else pixels."
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        help="Stop where the predicted IoU falls below this share of the prompted slice's; 0 does not look at it.",
    ),
]
ZRange = Annotated[
    str | None, typer.Option("--z-range", help="START,STOP: only slices START <= z < STOP along the axis.")
]
Embeddings = Annotated[
    Path | None, typer.Option("--embeddings", help="Folder of embeddings to reuse, resume and add to.")
]
EmbeddingsFolder = Annotated[Path, typer.Option("--embeddings", help="Folder to keep the embeddings in.")]
Zoom = Annotated[
    str,
    typer.Option(
        "--zoom",
        help="Look at small objects in a view around them instead of the whole slice: never, auto or always (where "
        "anything is gained).",
    ),
]
Overlap = Annotated[
    str, typer.Option("--overlap", help="Where two objects claim a voxel: error, first or last wins.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace LABELS and REPORT if they exist.")]
Report = Annotated[
    Path | None,
    typer.Option("--json", help="Write slices, voxels, mm3, predicted IoU and seconds an object."),
]
DemoFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the labels and the picture.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; default: the best there is.")]
