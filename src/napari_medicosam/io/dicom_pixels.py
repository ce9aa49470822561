"""Pixels of DICOM images: decompressed, in colour as RGB, grey ones as the values that they stand for."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames, parse_fragments
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEGExtended12Bit,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    generate_uid,
)

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import real_array, rgb_array
from napari_medicosam.io.dicom_codestreams import image_in
from napari_medicosam.io.dicom_files import read_dataset
from napari_medicosam.io.dicom_mosaic import slices_of
from napari_medicosam.io.dicom_quiet import quietly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.io.dicom_headers import DicomFile, DicomFrame
    from napari_medicosam.io.dicom_stacks import DicomStack

sitk: Any = SimpleITK  # its functions carry no types

_PIXEL_FIELDS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip

_ITEM = struct.Struct("<4sI")
"""What stands before a compressed image: a tag, and its length."""


def read_pixels(stack: DicomStack, *, palette_indices: bool = False) -> tuple[NDArray[Any], bool]:
    """The voxels of a stack, and whether they are RGB.

    Args:
        stack: one without a problem.
        palette_indices: of palette images take the indices and not the colours.

    Returns:
        (z, y, x): the values after the modality lookup table, or after RescaleSlope and RescaleIntercept: integers
        where these are whole numbers (of the stored type where nothing is scaled, else int16 or int32), float32
        otherwise; or (z, y, x, 3).

    Raises:
        FileError: for pixels that are damaged or missing, or compressed in a way that nothing here can undo.
    """
    path = stack.frames[0].file.path
    slices: list[NDArray[Any]] = []
    decoded: tuple[Path, NDArray[Any]] | None = None
    for frame in stack.frames:
        if decoded is None or decoded[0] != frame.file.path:
            decoded = frame.file.path, _images_of(frame, palette_indices)
        image = decoded[1][frame.index]
        slices.append(image if image.ndim == 3 else _scaled(image, frame))
    if len({image.ndim for image in slices}) > 1:
        raise FileError(f"{path} and its neighbours are partly grey and partly coloured: wanted one kind")
    if any(image.dtype.kind == "f" for image in slices):
        slices = [image.astype(np.float32, copy=False) for image in slices]
    array = np.stack(slices)
    return (rgb_array(path, array), True) if array.ndim == 4 else (real_array(path, array), False)


def _images_of(frame: DicomFrame, palette_indices: bool) -> NDArray[Any]:
    """All images of a file: (frame, y, x) as stored or as its modality lookup table says, or (frame, y, x, 3)."""
    file = frame.file
    with quietly():
        try:
            dataset = read_dataset(file.path)
            _check_codestreams(file, dataset)
            array = _decoded(dataset)
            if file.num_tiles > 1:
                array = slices_of(array, file)
            if dataset.PhotometricInterpretation == "PALETTE COLOR" and not palette_indices:
                array = _colours(array, dataset)
            elif "ModalityLUTSequence" in dataset and file.num_samples == 1:
                array = apply_modality_lut(array, dataset)
        except FileError:
            raise
        except Exception as error:
            raise FileError(f"cannot read the pixels of {file.path}: {error}") from error
    colours = array.shape[-1:] if array.ndim > 2 and array.shape[-1] == 3 else ()
    wanted = (file.num_frames, *file.size_yx)
    shape = wanted if array.size == np.prod(wanted) else (*wanted, *colours)
    if array.size != np.prod(shape):
        raise FileError(
            f"{file.path} is damaged: its pixels have shape {array.shape}, its header says {wanted}"
        )
    return array.reshape(shape)


def _check_codestreams(file: DicomFile, dataset: Dataset) -> None:
    """Raise `FileError` when a compressed image is cut short, or another one than the header says."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    _, starts = parse_fragments(dataset.PixelData)
    end = starts[-1] + _ITEM.size + _ITEM.unpack_from(dataset.PixelData, starts[-1])[1] if starts else 0
    if end > len(dataset.PixelData):
        raise FileError(
            f"{file.path} is truncated: it has compressed pixels up to byte {end} of {len(dataset.PixelData)}"
        )
    size_yx = dataset.Rows, dataset.Columns
    if size_yx != tuple(size * file.num_tiles for size in file.size_yx):
        raise FileError(f"{file.path} was changed while it was read: it has {size_yx} pixels now")
    for codestream in generate_fragments(dataset.PixelData):
        image = image_in(codestream)
        if image is not None and (
            image.size_yx != size_yx
            or image.num_samples != file.num_samples
            or not 2 <= image.bits <= dataset.BitsAllocated
        ):
            raise FileError(
                f"{file.path} is damaged: its header says {size_yx} pixels of {file.num_samples} samples and "
                f"{dataset.BitsAllocated} bits, the compressed image is of {image}"
            )


def _decoded(dataset: Dataset) -> NDArray[Any]:
    """By pydicom and the decoders that it finds; kinds of JPEG that these cannot do by SimpleITK's GDCM."""
    try:
        return pixel_array(dataset)
    except Exception:
        syntax = dataset.file_meta.TransferSyntaxUID
        # Only then: GDCM has crashed on damaged files, where pydicom says what is wrong.
        is_possible = syntax.is_encapsulated and (
            syntax == JPEGExtended12Bit or not get_decoder(syntax).is_available
        )
        if not is_possible:
            raise
        try:
            return _decoded_by_itk(dataset)
        except RuntimeError:  # what pydicom said tells what to install
            pass
        raise


def _decoded_by_itk(dataset: Dataset) -> NDArray[Any]:
    """Stored values of the pixels alone: ITK gets nothing that it would scale, invert or put into a place."""
    bare = Dataset()
    for keyword in _PIXEL_FIELDS:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    if dataset.SamplesPerPixel == 1:
        bare.PhotometricInterpretation = "MONOCHROME2"
    bare.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    # Packed anew: where a packed image claims to be longer than it is, GDCM takes what follows for sizes.
    bare.PixelData = encapsulate(
        list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    )
    bare["PixelData"].VR = "OB"
    bare["PixelData"].is_undefined_length = True
    bare.SOPInstanceUID = generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.dcm"
        bare.save_as(path, enforce_file_format=True)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO")))


def _colours(indices: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """RGB of palette images; palettes of 16 bit are cut to the 8 that screens show."""
    colours = apply_color_lut(indices, dataset)[..., :3]
    return np.asarray(colours >> 8 if colours.dtype.itemsize == 2 else colours, dtype=np.uint8)


def _scaled(image: NDArray[Any], frame: DicomFrame) -> NDArray[Any]:
    """Stored values to those they stand for, in a type that holds them exactly where there is one."""
    slope, intercept = frame.slope, frame.intercept
    if (slope, intercept) == (1.0, 0.0):
        return image
    values = image * np.float64(slope) + intercept
    if image.dtype.kind == "f" or not (slope.is_integer() and intercept.is_integer()):
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.float32)
