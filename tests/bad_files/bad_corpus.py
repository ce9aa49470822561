"""All bad files, always the same ones: `python bad_corpus.py FOLDER` writes them there, to be looked at."""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bad_case import BadFile, bytes_file
from bad_checkpoints import bad_pickles, bad_safetensors, weights
from bad_dicom import (
    bad_bare_dicom,
    bad_dicom,
    bad_mosaics,
    bad_series,
    bare,
    bare_implicit,
    mosaic,
    sound_series,
)
from bad_dicom import sound as sound_dicom
from bad_itk import bad_meta, bad_nrrd, bad_nrrd_lists, bz2_nrrd, itk, list_nrrd, packed_meta, packed_nrrd
from bad_journals import bad_journals, journal
from bad_nifti import bad_nifti, nifti
from bad_pairs import analyze_header, bad_pairs, pair, pair_header
from bad_pictures import bad_bmp, bad_jpeg, bad_png, bad_tiff, picture, tiff
from bad_sessions import bad_sessions, session
from bad_texts import bad_descriptions, bad_label_classes, bad_prompts, bad_registry, bad_states
from bad_zarr import bad_zarr
from bad_zarr import sound as sound_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bad_case import Wanted

SOUND = (
    BadFile("sound.nii", "volume", "", bytes_file(nifti), "read"),
    BadFile("sound.2.nii", "volume", "", bytes_file(lambda: nifti(2)), "read"),
    BadFile("sound.nii.gz", "volume", "", bytes_file(lambda: gzip.compress(nifti(), mtime=0)), "read"),
    BadFile("sound.nrrd", "volume", "", bytes_file(lambda: itk(".nrrd")), "read"),
    BadFile("sound.pair", "pair", "", pair(pair_header), "read"),
    BadFile("sound.analyze.pair", "pair", "", pair(analyze_header), "read"),
    BadFile("sound.bz2.nrrd", "volume", "", bytes_file(bz2_nrrd), "read"),
    BadFile("sound.list.nrrd", "times", "", bytes_file(list_nrrd), "read"),
    BadFile("sound.mha", "volume", "", bytes_file(lambda: itk(".mha")), "read"),
    BadFile("sound.gz.nrrd", "volume", "", bytes_file(packed_nrrd), "read"),
    BadFile("sound.zlib.mha", "volume", "", bytes_file(packed_meta), "read"),
    BadFile("sound.tif", "volume", "", bytes_file(tiff), "read"),
    BadFile("sound.zlib.tif", "volume", "", bytes_file(lambda: tiff(compression="zlib")), "read"),
    BadFile("sound.png", "volume", "", bytes_file(lambda: picture("PNG")), "read"),
    BadFile("sound.jpg", "volume", "", bytes_file(lambda: picture("JPEG")), "read"),
    BadFile("sound.bmp", "volume", "", bytes_file(lambda: picture("BMP")), "read"),
    BadFile("sound.bare", "volume", "", bytes_file(bare), "read"),
    BadFile("sound.implicit.bare", "volume", "", bytes_file(bare_implicit), "read"),
    BadFile("sound.mosaic.dcm", "volume", "", bytes_file(mosaic), "read"),
    BadFile("sound.dcm", "volume", "", bytes_file(sound_dicom), "read"),
    BadFile("sound.series", "volume", "", sound_series, "read"),
    BadFile("sound.ome.zarr", "volume", "", sound_zarr, "read"),
    BadFile("sound.session.zip", "session", "", bytes_file(session), "read"),
    BadFile("sound.journal", "journal", "", bytes_file(journal), "read"),
    BadFile("sound.pth", "weights", "", bytes_file(lambda: weights(".pth")), "read"),
    BadFile("sound.safetensors", "weights", "", bytes_file(lambda: weights(".safetensors")), "read"),
)
"""What the others were made of: a bad file whose checksum holds must give what these give."""


def strange_names() -> Iterator[BadFile]:
    """Sound files whose names are no UTF-8: ITK and safetensors cannot take these, and say so."""
    cannot, can = (".nrrd", ".mha", ".safetensors"), (".bz2.nrrd", ".list.nrrd")  # these are written anew
    for sound in SOUND:
        ending = sound.name.removeprefix("sound")
        name = b"na\xefve".decode("utf-8", "surrogateescape") + ending
        wanted: Wanted = "refused" if ending.endswith(cannot) and ending not in can else "read"
        yield replace(sound, name=name, why="a name that is no UTF-8", wanted=wanted, declared=1 << 16)


BAD = (
    *bad_nifti(), *bad_pairs(), *bad_nrrd(), *bad_nrrd_lists(), *bad_meta(), *bad_tiff(), *bad_png(), *bad_jpeg(),
    *bad_bmp(), *bad_dicom(), *bad_bare_dicom(), *bad_mosaics(), *bad_series(),
    *bad_zarr(), *bad_pickles(), *bad_safetensors(), *bad_label_classes(), *bad_registry(), *bad_states(),
    *bad_prompts(), *bad_descriptions(), *bad_sessions(), *bad_journals(),
    *(strange_names() if sys.platform == "linux" else ()),
)  # fmt: skip
"""Every bad file."""


def corpus(folder: Path) -> dict[str, Path]:
    """Write all files, the sound ones too, to `folder`; their paths by name."""
    paths = {}
    for case in (*SOUND, *BAD):
        paths[case.name] = folder / case.name
        case.make(paths[case.name])
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{len(corpus(target))} files in {target}\n")
