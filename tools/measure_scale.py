"""Measure what docs/scale.md computes with: seconds of a core and bytes a slice, and what an image costs besides.

python tools/measure_scale.py [--model NAME] [--slices N] [--pictures N]

Everything goes through `medicosam embed` and `medicosam segment`, as a batch would, on one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from napari_medicosam.cli import options
from napari_medicosam.cli.console import silence
from napari_medicosam.cli.embed import embed_image
from napari_medicosam.cli.job import JobOptions
from napari_medicosam.cli.loaded_model import load_once
from napari_medicosam.cli.segment import SegmentOrder, segment_image
from napari_medicosam.io.volumes import read_volume

SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="medicosam_lite")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=16)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {given.model}")
    with tempfile.TemporaryDirectory() as name, silence():
        measure(Path(name), given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    _, seconds = timed(lambda: load_once(given.model, "cpu"))
    print(f"model loaded in {seconds:.1f} s, the first time with its imports")
    scan = folder / "scan.nii.gz"
    write_scan(scan, given.slices)
    megabytes = given.slices * SIZE * SIZE * 2 / 1e6
    _, seconds = timed(lambda: read_volume(scan))
    print(
        f"NIfTI, packed: {megabytes / seconds:.0f} MB/s, {seconds / given.slices * 1000:.1f} ms a slice of {SIZE} px"
    )
    torch.set_num_threads(1)
    wanted = JobOptions(given.model, None, folder / "slices", "cpu", keep_in_memory=False)
    embed_image(scan, wanted, "0", "0,1")  # the first one also warms up
    _, seconds = timed(lambda: embed_image(scan, wanted, "0", None))
    print(f"embed: {seconds / (given.slices - 1):.3f} s a slice")
    _, seconds = timed(lambda: embed_image(scan, wanted, "0", None))
    print(f"  found done: {seconds / given.slices * 1000:.1f} ms a slice")
    asked, seconds = timed(lambda: segment(scan, folder, wanted, given.slices))
    print(f"segment from stored embeddings, one object: {seconds / asked:.3f} s a slice")
    for dtype in ("float16", "int8"):
        wanted = JobOptions(
            given.model, None, folder / dtype, "cpu", embedding_dtype=dtype, keep_in_memory=False
        )
        embed_image(scan, wanted, "0", "0,4")
        chunks = [path.stat().st_size for path in (folder / dtype).rglob("c.*") if path.is_file()]
        print(f"stored as {dtype}: {sum(chunks) / 4e6:.2f} MB a slice in {len(chunks) / 4:.0f} files")
    pictures(folder, given)


def pictures(folder: Path, given: argparse.Namespace) -> None:
    """Many images of one slice: what each costs besides its encoding."""
    kept, made = folder / "pictures", []
    random = np.random.default_rng(0)
    for number in range(given.pictures + 1):
        made.append(folder / f"{number}.png")
        Image.fromarray(random.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)).save(made[-1])
    wanted = JobOptions(given.model, None, kept, "cpu", is_shared=True, keep_in_memory=False)
    embed_image(made[0], wanted, "0", None)
    _, seconds = timed(lambda: [embed_image(path, wanted, "0", None) for path in made[1:]])
    files = [path for path in kept.rglob("*") if path.is_file()]
    print(f"pictures: {seconds / given.pictures:.3f} s each, {len(files) / len(made):.0f} files each")
    _, seconds = timed(lambda: [embed_image(path, wanted, "0", None) for path in made[1:]])
    print(f"  found done: {seconds / given.pictures * 1000:.1f} ms each")


def segment(scan: Path, folder: Path, wanted: JobOptions, num_slices: int) -> int:
    """Follow one object from stored embeddings; how many slices were asked."""
    middle, side = num_slices // 2, SIZE // 8
    prompts = options.PromptOptions(box=[f"{middle},{3 * side},{3 * side},{5 * side},{5 * side}"])
    how = options.SegmentOptions(wanted.model, device="cpu", embeddings=wanted.embeddings, zoom="never")
    follow = options.PropagationOptions(propagate=True, iou_threshold=0.0, min_confidence=0.0)
    results = options.ResultOptions(output=folder / "labels.nii.gz", overwrite=True)
    report = segment_image(SegmentOrder(scan, results, prompts, how, follow, options.CleanUpOptions()))
    return len(report.objects[0].scores)


def write_scan(path: Path, num_slices: int) -> None:
    """A ball in noise, as CT: int16, 512 x 512."""
    z, y, x = np.ogrid[:num_slices, :SIZE, :SIZE]
    array = np.random.default_rng(0).normal(0, 30, (num_slices, SIZE, SIZE))
    array[(y - SIZE / 2) ** 2 + (x - SIZE / 2) ** 2 + (z - num_slices / 2) ** 2 < (SIZE / 8) ** 2] += 150
    nib.save(nib.Nifti1Image(array.astype(np.int16).T, np.diag([0.8, 0.8, 2.5, 1])), path)


def timed(work):
    """The result, and seconds of a core: on a busy machine they say more than the clock."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()
