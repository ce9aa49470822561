"""Labels as DICOM segmentations, opened again by programs that know nothing of this one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_helpers import AXIAL, SPACING_YX, enhanced, oblique, save, write_series
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from napari_medicosam.core.label_classes import LabelClass, LabelClasses
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io import dicom_seg
from napari_medicosam.io.dicom_seg_reading import read_dicom_seg
from napari_medicosam.io.dicom_segments import Segment, segments_of
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import Volume, check_writable, read_labels, read_volume, write_labels

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (6, 8, 10)
PIXELS = np.zeros(SHAPE, np.int16)
SERIES: dict[str, Any] = {
    "FrameOfReferenceUID": "1.2.4",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller",
    "PatientID": "123",
    "PatientSex": "X",  # neither M, F nor O
    "SliceThickness": None,
    "SpacingBetweenSlices": 99.0,  # wrong, as it often is
}
NAMES = LabelClasses((LabelClass(7, "left kidney", (230, 159, 0)), LabelClass(300, "肝 lesion")))


def labels_of(shape: tuple[int, int, int] = SHAPE) -> Any:
    """Labels 7 and 300, none on the first slice nor on the fourth."""
    labels = np.zeros(shape, np.uint16)
    labels[1:3, 2:5, 3:7] = 7
    labels[4, 1:6, 3:5] = 7
    labels[4:6, 7, 8:] = 300
    return labels


def write_oblique(folder: Path) -> Path:
    cosines = oblique()
    step = 2.5 * np.cross(cosines[:3], cosines[3:])
    write_series(folder, PIXELS, step, ImageOrientationPatient=list(cosines), **SERIES)
    return folder


def write_axial(folder: Path, step: tuple[float, ...] = (0, 0, 2.5)) -> Path:
    write_series(folder, PIXELS, step, **SERIES)
    return folder


def write_uneven(folder: Path) -> Path:
    """Slices a little off their places and directions, as some scanners round, which is read as an even stack."""
    for index, path in enumerate(write_series(folder, PIXELS, **SERIES)):
        image = pydicom.dcmread(path)
        image.ImagePositionPatient[2] += 0.1 * (index % 2)
        image.ImageOrientationPatient[1] = 1e-6 * (index % 2)
        save(image, path)
    return folder


def write_enhanced(path: Path, *, are_shared: bool = True) -> Path:
    """All slices as frames of one file, from the last one to the first."""
    image = enhanced(PIXELS, list(reversed(range(SHAPE[0]))), [1.0] * SHAPE[0])
    image.FrameOfReferenceUID = "1.2.4"
    shared = image.SharedFunctionalGroupsSequence[0]
    if not are_shared:
        for frame in image.PerFrameFunctionalGroupsSequence:
            frame.update(shared)
        shared.clear()
    return save(image, path)


@pytest.fixture
def volume(tmp_path):
    return read_volume(write_oblique(tmp_path / "series"))


def lps(volume: Volume, points_zyx: Any) -> Any:
    return volume.geometry.index_to_ras_mm(points_zyx) * (-1, -1, 1)


def world_voxels(path: Path) -> dict[str, Any]:
    """By segment name the LPS places of its voxels, from pydicom and SimpleITK alone; sorted."""
    file = pydicom.dcmread(path)
    names = {item.SegmentNumber: item.SegmentLabel for item in file.SegmentSequence}
    shared = file.SharedFunctionalGroupsSequence[0]
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
    rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for frame, groups in zip(pixels, file.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        owner = groups if "SegmentIdentificationSequence" in groups else shared
        y, x = np.nonzero(frame)
        places = position + x[:, None] * columns * cosines[0] + y[:, None] * rows * cosines[1]
        found[names[owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber]].append(places)
    return {name: np.concatenate(places) for name, places in found.items()}


def same_places(one: Any, other: Any) -> bool:
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)
    return (
        len(one) == len(other) and distances.min(axis=1).max() < 1e-3 and distances.min(axis=0).max() < 1e-3
    )


def true_places(volume: Volume, voxels_zyx: Any) -> Any:
    """LPS places of voxels from the headers of the image's files."""
    source = volume.header.native
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.paths]
    if source.frames:
        groups = [files[0].PerFrameFunctionalGroupsSequence[frame] for frame in source.frames]
        origins = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
        cosines: Any = AXIAL
    else:
        origins = [file.ImagePositionPatient for file in files]
        cosines = files[0].ImageOrientationPatient
    z, y, x = voxels_zyx.T
    along_row, down_column = np.array(cosines, float).reshape(2, 3)
    rows, columns = SPACING_YX
    return np.array(origins, float)[z] + x[:, None] * columns * along_row + y[:, None] * rows * down_column


SOURCES = {
    "oblique": write_oblique,
    "axial": write_axial,
    "tilted gantry": lambda path: write_axial(path, (0, 0.6, 2.5)),
    "uneven": write_uneven,
    "enhanced": write_enhanced,
    "enhanced, all said in each frame": lambda path: write_enhanced(path, are_shared=False),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_voxel_is_where_it_was_drawn(tmp_path, source):
    volume = read_volume(SOURCES[source](tmp_path / "image"))
    labels = labels_of()
    path = tmp_path / "labels.seg.dcm"
    write_labels(path, labels, volume, classes=NAMES)

    back = read_dicom_seg(path, volume)
    assert back.geometry is volume.geometry
    np.testing.assert_array_equal(back.array, labels)

    found = world_voxels(path)
    assert set(found) == {"left kidney", "肝 lesion"}
    for label, name in ((7, "left kidney"), (300, "肝 lesion")):
        voxels = np.argwhere(labels == label)
        assert same_places(found[name], true_places(volume, voxels))
        if source != "uneven":  # where the grid of our geometry is not quite that of the files
            assert same_places(found[name], lps(volume, voxels))


def test_highdicom_gives_the_same_volume(tmp_path, volume):
    labels = labels_of()
    write_labels(tmp_path / "a.dcm", labels, volume)
    read = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
    for number, label in ((1, 7), (2, 300)):
        found = read.map_indices_to_reference(np.argwhere(read.array == number))
        assert same_places(found, lps(volume, np.argwhere(labels == label)))


def test_itk_places_a_single_segment_by_itself(tmp_path, volume):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 2:5, 3:7] = 1
    labels[2, 0, 0] = 1
    write_labels(tmp_path / "a.dcm", labels, volume)
    image = sitk.ReadImage(str(tmp_path / "a.dcm"))
    voxels_xyz = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
    places = np.array([image.TransformIndexToPhysicalPoint(voxel) for voxel in voxels_xyz.tolist()])
    assert same_places(places, lps(volume, np.argwhere(labels)))


def test_directions_of_few_digits_are_no_other_directions(tmp_path):
    cosines = [1, 0, 0, 0, 0.9272, -0.3746]  # as scanners write them; 1.2e-5 longer than 1
    step = np.array([0, 0.3746, 0.9272]) * 2.5
    attributes = SERIES | {"ImageOrientationPatient": cosines, "PixelSpacing": [40, 40]}
    write_series(tmp_path / "series", PIXELS, step, **attributes)
    volume = read_volume(tmp_path / "series")
    write_labels(tmp_path / "a.dcm", labels_of(), volume)
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "a.dcm", volume).array, labels_of())


def test_it_names_its_patient_its_images_and_its_segments(tmp_path, recwarn, caplog):
    other_id = Dataset()
    other_id.PatientID = "Ü1"
    unusual = SERIES | {"PatientSex": "not told", "OtherPatientIDsSequence": [other_id]}
    write_series(tmp_path / "series", PIXELS, **unusual)
    recwarn.clear()
    caplog.clear()
    caplog.set_level("INFO")
    volume = read_volume(tmp_path / "series")
    path = tmp_path / "a.dcm"
    write_labels(path, labels_of(), volume, classes=NAMES)
    told = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert not told
    file = pydicom.dcmread(path)
    images = [pydicom.dcmread(image) for image in volume.header.native.paths]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientSex"):
        assert file[keyword].value == images[0][keyword].value
    assert file.OtherPatientIDsSequence[0].PatientID == "Ü1"
    assert file.PatientBirthDate == ""  # the images have none at all
    uids = {file.SOPInstanceUID, file.SeriesInstanceUID}
    assert not uids & {uid for image in images for uid in (image.SOPInstanceUID, image.SeriesInstanceUID)}
    assert (file.Modality, file.SeriesNumber, file.SegmentationType) == ("SEG", 1004, "BINARY")

    by_place = {tuple(image.ImagePositionPatient): image.SOPInstanceUID for image in images}
    assert len(file.PerFrameFunctionalGroupsSequence) == 3 + 2  # frames without a voxel are left out
    for groups in file.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        position = tuple(groups.PlanePositionSequence[0].ImagePositionPatient)
        assert source.ReferencedSOPInstanceUID == by_place[position]

    kidney, lesion = highdicom.seg.segread(path).SegmentSequence
    assert (kidney.segment_label, lesion.segment_label) == ("left kidney", "肝 lesion")
    assert kidney.segmented_property_type == codes.SCT.Kidney
    assert kidney.segmented_property_category == codes.SCT.AnatomicalStructure
    assert lesion.segmented_property_type == codes.SCT.Lesion
    assert highdicom.color.CIELabColor.from_dicom_value(kidney.RecommendedDisplayCIELabValue).to_rgb() == (
        230,
        159,
        0,
    )
    assert (kidney.algorithm_type.value, kidney.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "napari-medicosam")


def test_without_the_image_it_comes_on_its_own_grid(tmp_path, volume):
    labels = labels_of()
    write_labels(tmp_path / "a.dcm", labels, volume)
    alone = read_labels(tmp_path / "a.dcm")
    np.testing.assert_array_equal(alone.array, labels[1:])  # with the empty slice between
    corners = np.array([(0, 0, 0), (4, 7, 9)])
    moved = volume.geometry.index_to_ras_mm(corners + np.array((1, 0, 0)))
    np.testing.assert_allclose(alone.geometry.index_to_ras_mm(corners), moved, atol=1e-3)


@pytest.mark.parametrize("slices", [[], [3], [0, 3]])
def test_few_slices_and_none(tmp_path, volume, slices):
    labels = np.zeros(SHAPE, bool)
    labels[slices, 2, 3] = True
    path = tmp_path / "a.dcm"
    write_labels(path, labels, volume)
    np.testing.assert_array_equal(read_dicom_seg(path, volume).array, labels)
    alone = read_labels(path)
    assert alone.array.sum() == len(slices)
    np.testing.assert_allclose(alone.geometry.spacing_zyx, volume.geometry.spacing_zyx, atol=1e-5)


def test_napari_opens_it_as_labels(tmp_path, volume):
    path = str(tmp_path / "scan.dcm")  # no name that would say it
    write_labels(path, labels_of(), volume)
    read = get_reader(path)
    assert read is not None
    ((array, arguments, layer_type),) = read(path)
    assert (layer_type, arguments["name"]) == ("labels", "scan")
    np.testing.assert_array_equal(np.unique(array), [0, 7, 300])


def foreign(path: Path, volume: Volume, pixels: Any, kind: str = "BINARY") -> Path:
    """A segmentation that another program might make."""
    images = [pydicom.dcmread(image) for image in volume.header.native.paths]
    for image in images:
        image.PatientSex = image.PatientBirthDate = image.AccessionNumber = ""
        image.StudyID = image.StudyDate = image.StudyTime = image.SliceThickness = ""
        image.PatientName = "A^B"
    segments = [
        highdicom.seg.SegmentDescription(number, f"s{number}", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
        for number in (1, 2)
    ]
    uids = generate_uid(), 1, generate_uid(), 1
    made = highdicom.seg.Segmentation(images, pixels, kind, segments, *uids, "maker", "model", "1", "1")
    made.save_as(path)
    return path


@pytest.mark.parametrize("background", [None, 0, 9])
def test_segmentations_of_other_programs(tmp_path, volume, background):
    labels = np.searchsorted([0, 7, 300], labels_of()).astype(np.uint8)
    path = foreign(tmp_path / "a.dcm", volume, labels, "BINARY" if background is None else "LABELMAP")
    if background:
        file = pydicom.dcmread(path)
        file.PixelPaddingValue = file.SegmentSequence[0].SegmentNumber = background
        file.PixelData = file.PixelData.replace(b"\0", bytes([background]))
        save(file, path)
    np.testing.assert_array_equal(read_dicom_seg(path, volume).array, labels)
    np.testing.assert_array_equal(read_labels(path).array, labels[1:])  # its SpacingBetweenSlices is wrong


def test_what_is_no_label_map_is_refused(tmp_path, volume):
    stacked = np.zeros((*SHAPE, 2), np.uint8)
    stacked[2, 3, 3:5] = 1
    with pytest.raises(FileError, match="segments that overlap"):
        read_dicom_seg(foreign(tmp_path / "overlap.dcm", volume, stacked), volume)
    stacked[..., 1] = 0
    with pytest.raises(FileError, match="fractional"):
        read_dicom_seg(foreign(tmp_path / "fractional.dcm", volume, stacked, "FRACTIONAL"), volume)
    with pytest.raises(FileError, match="as a DICOM segmentation"):
        read_dicom_seg(volume.header.native.paths[0], volume)


def test_a_segmentation_of_another_image_is_refused(tmp_path, volume):
    write_labels(tmp_path / "a.dcm", labels_of(), volume)
    other = read_volume(write_axial(tmp_path / "other"))
    with pytest.raises(FileError, match="lies on other slices than the image"):
        read_dicom_seg(tmp_path / "a.dcm", other)


def test_it_needs_the_images_that_it_was_made_from(tmp_path, volume):
    path = tmp_path / "a.dcm"
    check_writable(path, volume)
    elsewhere = Volume(volume.array, volume.geometry)
    for refused in (check_writable, lambda path, like: write_labels(path, labels_of(), like)):
        with pytest.raises(FileError, match="was not read from DICOM files"):
            refused(path, elsewhere)
    first, second, *others = volume.header.native.paths
    swapped = replace(volume.header, native=replace(volume.header.native, paths=(second, first, *others)))
    with pytest.raises(FileError, match="not what was read from there"):
        write_labels(path, labels_of(), replace(volume, header=swapped))
    first.unlink()
    with pytest.raises(FileError, match=first.name):
        write_labels(path, labels_of(), volume)
    for lacking, said in (
        ("FrameOfReferenceUID", "Frame Of Reference"),
        ("StudyInstanceUID", "needs StudyInstanceUID in the image's files"),
    ):
        series = write_series(tmp_path / lacking, PIXELS, **SERIES | {lacking: None})[0].parent
        with pytest.raises(FileError, match=said):
            write_labels(path, labels_of(), read_volume(series))
    assert not list(tmp_path.glob("*.dcm"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("fault", ["a voxel more", "another label", "a slice further"])
def test_a_file_that_says_something_else_never_replaces_the_old_one(tmp_path, volume, monkeypatch, fault):
    path = tmp_path / "a.dcm"
    write_labels(path, labels_of(), volume)
    old = path.read_bytes()
    with pytest.raises(FileError, match="exists already"):
        write_labels(path, labels_of(), volume)

    make = dicom_seg._segmentation

    def make_wrong(images, source, numbers_zyx, segments):
        if fault == "a voxel more":
            numbers_zyx[0, 0, 0] = 1
        segmentation = make(images, source, numbers_zyx, segments)
        if fault == "another label":
            segmentation.SegmentSequence[0].SegmentDescription = "label 8"
        if fault == "a slice further":
            for groups in segmentation.PerFrameFunctionalGroupsSequence:
                place = groups.PlanePositionSequence[0]
                place.ImagePositionPatient = [
                    *place.ImagePositionPatient[:2],
                    place.ImagePositionPatient[2] + 0.002,
                ]
        return segmentation

    monkeypatch.setattr(dicom_seg, "_segmentation", make_wrong)
    with pytest.raises(FileError, match=r"labels are not what was written|lies on other slices"):
        write_labels(path, labels_of(), volume, overwrite=True)
    assert path.read_bytes() == old
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "kind", "category"),
    [
        ("Liver", codes.SCT.Liver, codes.SCT.AnatomicalStructure),
        ("kidney_right", codes.SCT.Kidney, codes.SCT.AnatomicalStructure),
        ("liver tumour", codes.SCT.Neoplasm, codes.SCT.MorphologicallyAbnormalStructure),
        ("Gegenstand", codes.SCT.Tissue, codes.SCT.Tissue),
    ],
)
def test_codes_of_common_names(name, kind, category):
    segment = Segment.named(name)
    assert segment.name == name
    assert segment.kind[:2] == (kind.value, kind.scheme_designator)
    assert segment.category[:2] == (category.value, category.scheme_designator)


def test_names_alone_are_enough():
    segments = segments_of([1, 2, 5], {1: "spleen", 2: Segment("S", colour=(1, 2, 3))})
    assert [segment.name for segment in segments.values()] == ["spleen", "S", "label 5"]
    assert segments[1].kind[0] == codes.SCT.Spleen.value
    assert segments[2].colour == (1, 2, 3)


def test_segments_that_dicom_cannot_hold():
    assert Segment("a\\b\nc " + "x" * 99).name == "a/b c " + "x" * 58
    with pytest.raises(InputError, match="not empty"):
        Segment(" \n")
    for code in (("1", "SCT"), ("1" * 17, "SCT", "a"), ("", "SCT", "a")):
        with pytest.raises(InputError, match="kind of a segment must be"):
            Segment("a", kind=code)
