"""Siemens mosaics: a volume tiled into one picture."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from dicom_helpers import dataset, oblique, save

from napari_medicosam.errors import FileError
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_volume, write_labels

SLICES = np.random.default_rng(0).integers(0, 900, (7, 4, 6)).astype(np.int16)
COSINES = np.reshape(oblique(), (2, 3))
NORMAL = np.cross(*COSINES)
FIRST_MM = np.array([-31.0, 12.0, 70.0])
SPACING_YX, STEP = (0.7, 0.8), 2.5


def csa(**tags):
    """Siemens's own header, of its second version; each tag is a list of texts."""
    made = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, values in tags.items():
        made += struct.pack("<64si4s3i", name.encode(), len(values), b"FD\0\0", 4, len(values), 77)
        for value in values:
            text = value.encode() + b"\0"
            made += struct.pack("<4i", *[len(text)] * 2, 77, len(text)) + text + bytes(-len(text) % 4)
    return made + bytes(8)


def mosaic(slices, sign=1, header=None, **attributes):
    """A picture of 3 x 3 tiles, its place that of a picture of one slice as large as it."""
    tiles = np.zeros((9, *slices.shape[1:]), slices.dtype)
    tiles[: len(slices)] = slices
    picture = tiles.reshape(3, 3, *slices.shape[1:]).swapaxes(1, 2).reshape(3 * 4, 3 * 6)
    # Two thirds of the mosaic's height and width lie outside of one slice, half of it on either side.
    place = FIRST_MM - COSINES[1] * SPACING_YX[0] * (12 - 4) / 2 - COSINES[0] * SPACING_YX[1] * (18 - 6) / 2
    made = dataset(
        picture,
        **{
            "Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "FrameOfReferenceUID": "1.2.9",
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "PixelSpacing": list(SPACING_YX),
            "ImagePositionPatient": [round(float(v), 9) for v in place],
            "ImageOrientationPatient": list(COSINES.ravel()),
            "SpacingBetweenSlices": STEP, "SliceThickness": 2, "RescaleSlope": None, "RescaleIntercept": None,
        }
        | attributes,
    )  # fmt: skip
    if header is None:
        header = csa(
            EchoLinePosition=["64"],
            NumberOfImagesInMosaic=["7"],
            SliceNormalVector=[f"{v:.8f}" for v in sign * NORMAL],
        )
    block = made.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", header)
    return made


@pytest.mark.parametrize("sign", [1, -1])
def test_slices_lie_where_the_scanner_says(tmp_path, sign):
    volume = read_volume(save(mosaic(SLICES, sign), tmp_path / "a.dcm"))
    wanted = SLICES if sign == 1 else SLICES[::-1]  # sorted along the normal, as all slices are
    assert np.array_equal(volume.array, wanted)
    first = FIRST_MM if sign == 1 else FIRST_MM - 6 * STEP * NORMAL
    to_ras = np.diag([-1, -1, 1])
    corners = volume.geometry.index_to_ras_mm([(0, 0, 0), (0, 0, 5), (0, 3, 0), (6, 0, 0)])
    steps = [0, COSINES[0] * 0.8 * 5, COSINES[1] * 0.7 * 3, 6 * STEP * NORMAL]
    assert np.allclose(corners, [to_ras @ (first + step) for step in steps], atol=1e-6)


def test_a_series_of_mosaics_is_a_volume_over_time(tmp_path):
    for time in range(3):
        save(mosaic(SLICES + time, InstanceNumber=3 - time), tmp_path / f"{time}.dcm")
    ((data, _, _),) = get_reader(str(tmp_path))(str(tmp_path))
    assert np.array_equal(data, [SLICES + 2, SLICES + 1, SLICES])


def test_labels_of_a_mosaic(tmp_path):
    volume = read_volume(save(mosaic(SLICES), tmp_path / "a.dcm"))
    write_labels(tmp_path / "labels.nii.gz", SLICES > 400, volume)
    assert np.array_equal(read_volume(tmp_path / "labels.nii.gz").array, SLICES > 400)
    with pytest.raises(FileError, match=r"does not describe its frames one by one.*\.nii\.gz"):
        write_labels(tmp_path / "labels.dcm", SLICES > 400, volume)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (csa(EchoLinePosition=["64"]), "dcm2niix"),
        (csa(NumberOfImagesInMosaic=["7"]), "dcm2niix"),
        (csa(NumberOfImagesInMosaic=["20"], SliceNormalVector=["0", "0", "1"]), "20 slices do not fit"),
        (csa(NumberOfImagesInMosaic=["7"], SliceNormalVector=["1", "0", "0"]), "along their normal"),
        (csa(NumberOfImagesInMosaic=["7"], SliceNormalVector=["nan", "0", "0"]), "along their normal"),
        (b"SV10", "damaged"),
    ],
)
def test_headers_that_tell_nothing_or_nonsense(tmp_path, header, reason):
    path = save(mosaic(SLICES, header=header), tmp_path / "a.dcm")
    with pytest.raises(FileError, match=reason):
        read_volume(path)
