"""DICOM in: voxels and places as SimpleITK has them, volumes sorted from files, and what napari gets."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_helpers import AXIAL, CT, SPACING_YX, compressed, dataset, enhanced, oblique, save, write_series
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGLSLossless, RLELossless

from napari_medicosam.errors import FileError
from napari_medicosam.io.itk import ras_from_lps
from napari_medicosam.io.nifti import is_sheared
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import read_labels, read_volume, write_labels

HOUNSFIELD = CT - 1024


def itk_affine_ras(image):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return ras_from_lps(affine)


def read_by_itk(*paths):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    reader.SetImageIO("GDCMImageIO")
    return reader.Execute()


def in_wheel(name):
    return Path(get_testdata_file(name, download=False))


# ------------------------------------------------------------------ voxels and places


def test_a_series_is_what_itk_reads(tmp_path):
    cosines = oblique()
    normal = np.cross(cosines[:3], cosines[3:])
    paths = write_series(
        tmp_path / "scan",
        CT,
        2.5 * normal,
        ImageOrientationPatient=list(cosines),
        WindowCenter=40,
        WindowWidth=400,
    )
    volume = read_volume(tmp_path / "scan")

    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "scan"))
    theirs = read_by_itk(*names)
    assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(theirs))
    assert np.array_equal(volume.array, HOUNSFIELD)
    assert np.abs(volume.geometry.affine_ras - itk_affine_ras(theirs)).max() < 1e-6
    assert volume.geometry.spacing_zyx == pytest.approx((2.5, *SPACING_YX))
    header = volume.header
    assert (volume.array.dtype, header.unit, header.modality, header.window) == (
        np.int16,
        "mm",
        "CT",
        (40, 400),
    )
    assert header.native.paths == tuple(paths)
    assert volume.record.is_oriented
    assert str(tmp_path) not in repr(volume.record)


def test_a_tilted_gantry_is_kept_as_shear(tmp_path):
    tilt = np.deg2rad(18.0)
    cosines = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    paths = write_series(
        tmp_path / "scan", CT, (0, 0, 5.0), ImageOrientationPatient=[round(v, 12) for v in cosines]
    )
    volume = read_volume(tmp_path / "scan")
    assert is_sheared(volume.geometry)
    for z, path in enumerate(paths):
        theirs = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
        for y, x in ((0, 0), (5, 6)):
            lps = np.array(theirs.TransformIndexToPhysicalPoint((x, y, 0)))
            assert volume.geometry.index_to_ras_mm((z, y, x)) == pytest.approx(lps * (-1, -1, 1), abs=1e-6)

    write_labels(tmp_path / "labels.nii.gz", volume.array > 0, volume)
    assert np.abs(nibabel.load(tmp_path / "labels.nii.gz").affine - volume.geometry.affine_ras).max() < 1e-3
    with pytest.raises(FileError, match="sheared"):
        write_labels(tmp_path / "labels.nrrd", volume.array > 0, volume)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("num_slices", [5, 1])
def test_labels_lie_where_the_scan_lies(tmp_path, suffix, num_slices):
    cosines = oblique()
    step = -3 * np.cross(cosines[:3], cosines[3:])
    write_series(tmp_path / "scan", CT[:num_slices], step, ImageOrientationPatient=list(cosines))
    volume = read_volume(tmp_path / "scan")
    labels = (volume.array > 900).astype(np.uint8)
    write_labels(tmp_path / f"labels{suffix}", labels, volume)

    theirs = SimpleITK.ReadImage(str(tmp_path / f"labels{suffix}"))
    for path in sorted((tmp_path / "scan").iterdir()):
        place = dcmread(path)
        # Every pixel of the file, looked up in the labels by its place in the patient.
        if theirs.GetDimension() == 3:
            for y, x in ((0, 0), (2, 5)):
                row, column = np.reshape(place.ImageOrientationPatient, (2, 3)).astype(float)
                lps = np.array(place.ImagePositionPatient, dtype=float) + x * 0.8 * row + y * 0.7 * column
                index = theirs.TransformPhysicalPointToContinuousIndex(lps)
                assert index[:2] == pytest.approx((x, y), abs=1e-3)
                assert theirs[tuple(round(i) for i in index)] == (place.pixel_array[y, x] - 1024 > 900)
    assert np.array_equal(read_labels(tmp_path / f"labels{suffix}").array, labels)


def test_multi_frame_with_shuffled_frames_and_a_slope_each(tmp_path):
    order, slopes = [3, 0, 4, 1, 2], [1.0, 2.0, 1.0, 3.0, 1.0]
    path = save(enhanced(CT, order, slopes), tmp_path / "enhanced.dcm")
    volume = read_volume(path)
    assert np.array_equal(volume.array, CT.astype(int) * np.array(slopes)[:, None, None] - 1)
    assert volume.array.dtype == np.int16
    wanted = np.diag([-0.8, -0.7, 2.5, 1.0])
    wanted[:3, 3] = (-1.5, 2.5, 10)
    assert np.abs(volume.geometry.affine_ras - wanted).max() < 1e-9
    assert volume.header.native.paths == (path,)
    assert volume.header.native.frames == tuple(order.index(z) for z in range(5))
    assert volume.header.window == (50, 400)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_series(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    for z, pixels in enumerate(CT[:3]):
        made = dataset(pixels, ImagePositionPatient=[0, 0, 2 * z])
        save(compressed(made, syntax), tmp_path / f"{z}.dcm")
    assert np.array_equal(read_volume(tmp_path).array, HOUNSFIELD[:3])


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm",
        "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_ybr_full_422_uncompressed.dcm", "image_dfl.dcm",
        "SC_rgb_rle_2frame.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_gdcm_KY.dcm",
        "98892001/CT5N/2062", "98892003/MR700/4467", "examples_palette.dcm",
    ],
)  # fmt: skip
def test_real_files_are_what_gdcm_decodes(name):
    """Scanners' files, compressed in every way that comes with pydicom or, for lossless JPEG, only with GDCM."""
    path = in_wheel(name) if "/" not in name else in_wheel("DICOMDIR").parent / name
    volume = read_volume(path)
    theirs = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(theirs).reshape(volume.array.shape))
    if volume.record.is_oriented:
        y, x = (n - 1 for n in volume.geometry.shape_zyx[1:])
        for corner in ((0, 0), (0, x), (y, 0), (y, x)):
            lps = np.array(theirs.TransformIndexToPhysicalPoint((corner[1], corner[0], 0)))
            assert volume.geometry.index_to_ras_mm((0, *corner)) == pytest.approx(lps * (-1, -1, 1), abs=1e-3)


# ------------------------------------------------------------------ intensities and colours


def test_slopes_that_are_no_whole_numbers_give_float32(tmp_path):
    for z, (pixels, slope) in enumerate(zip(CT, (0.5, 1.5, 2.0, 0.25, 1.0), strict=True)):  # as PET has them
        made = dataset(pixels, ImagePositionPatient=[0, 0, 3 * z], RescaleSlope=slope, RescaleIntercept=0)
        save(made, tmp_path / f"{z}.dcm")
    array = read_volume(tmp_path).array
    assert array.dtype == np.float32
    assert np.array_equal(array, CT * np.array([0.5, 1.5, 2.0, 0.25, 1.0])[:, None, None])


def test_integers_stay_integers_and_no_wider_than_they_must_be(tmp_path):
    stored = np.array([[0, 60_000], [1, 2]], np.uint16)
    for intercept, dtype in ((0, np.uint16), (-40_000, np.int32), (-30_000, np.int16)):
        path = save(dataset(stored, RescaleIntercept=intercept), tmp_path / "a.dcm")
        array = read_volume(path).array
        assert array.dtype == dtype
        assert np.array_equal(array[0], stored.astype(int) + intercept)


def test_a_modality_lookup_table_says_what_values_are(tmp_path):
    table = (np.arange(4096)[::-1] * 3 + 7).astype(np.uint16)
    entry = Dataset()
    entry.LUTDescriptor = [4096, 0, 16]
    entry["LUTDescriptor"].VR = "US"
    entry.LUTData = table.tobytes()
    entry["LUTData"].VR = "OW"
    # Both at once is against the rules; then the table counts, as it does for pydicom.
    for slope in (None, 2):
        made = dataset(CT[0], ModalityLUTSequence=[entry], RescaleSlope=slope, RescaleIntercept=slope)
        array = read_volume(save(made, tmp_path / "film.dcm")).array
        assert array.dtype == np.uint16
        assert np.array_equal(array[0], table[CT[0]])


def test_inverted_images_keep_their_values_and_are_shown_inverted(tmp_path):
    path = save(dataset(CT[0], PhotometricInterpretation="MONOCHROME1"), tmp_path / "film.dcm")
    ((data, arguments, _),) = get_reader(str(path))(str(path))
    assert np.array_equal(data, HOUNSFIELD[0])
    assert arguments["colormap"] == "gray_r"


def test_ultrasound_cine_is_a_stack_of_colour_frames_with_the_spacing_of_its_region(tmp_path):
    frames = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
    region = Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 1, 3, 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, -0.03
    made = dataset(
        frames, Modality="US", NumberOfFrames=4, ImagePositionPatient=None, ImageOrientationPatient=None,
        PixelSpacing=None, SequenceOfUltrasoundRegions=[region],
    )  # fmt: skip
    volume = read_volume(save(made, tmp_path / "cine"))
    assert volume.is_rgb
    assert np.array_equal(volume.array, frames)
    assert volume.geometry.spacing_zyx == pytest.approx((1.0, 0.3, 0.2))
    assert volume.header.unit is None  # from frame to frame it is time that passes
    assert not volume.record.is_oriented


def test_enhanced_ultrasound_lies_in_the_box_that_its_transducer_saw(tmp_path):
    made = enhanced(CT, [2, 0, 1, 4, 3], [1.0] * 5)
    shared = made.SharedFunctionalGroupsSequence[0]
    groups = [(shared, "Orientation"), *((one, "Position") for one in made.PerFrameFunctionalGroupsSequence)]
    for group, what in groups:
        (item,) = group[f"Plane{what}Sequence"].value
        moved = Dataset()
        setattr(moved, f"Image{what}Volume", item[f"Image{what}Patient"].value)
        setattr(group, f"Plane{what}VolumeSequence", [moved])
        del group[f"Plane{what}Sequence"]
    made.Modality = "US"
    volume = read_volume(save(made, tmp_path / "us.dcm"))
    assert np.array_equal(volume.array, CT - 1)
    assert volume.geometry.spacing_zyx == pytest.approx((2.5, *SPACING_YX))
    assert volume.header.unit == "mm"
    assert not volume.record.is_oriented
    with pytest.raises(FileError, match="do not say where it lies in the patient"):
        write_labels(tmp_path / "labels.dcm", CT > 9, volume)


def test_a_spacing_of_zero_is_one_that_is_not_known(tmp_path):
    for detector, spacing in (([0.14, 0.2], (1, 0.14, 0.2)), (None, (1, 1, 1))):
        made = dataset(
            CT[0], Modality="CR", PixelSpacing=[0, 0], ImagerPixelSpacing=detector, ImagePositionPatient=None,
            ImageOrientationPatient=None,
        )  # fmt: skip
        volume = read_volume(save(made, tmp_path / "film.dcm"))
        assert volume.geometry.spacing_zyx == spacing
        assert volume.header.unit == (None if detector is None else "mm")


def test_palette_indices_on_request():
    path = in_wheel("examples_palette.dcm")
    assert np.array_equal(read_volume(path, palette_indices=True).array[0], dcmread(path).pixel_array)


# ------------------------------------------------------------------ which images belong together


def write_study(folder):
    """Series 2: a localizer in two planes. Series 4: CT, each file twice. And a report, and a text."""
    for z, cosines in enumerate((AXIAL, AXIAL, (0, 1, 0, 0, 0, -1))):
        made = dataset(
            CT[z], ImagePositionPatient=[0, 0, 10 * z], ImageOrientationPatient=list(cosines), SeriesNumber=2,
            SeriesDescription="LOCALIZER", SeriesInstanceUID="1.2.3.2",
        )  # fmt: skip
        save(made, folder / f"{z}.dcm")
    write_series(folder / "ct", CT)
    for path in sorted((folder / "ct").iterdir()):
        (folder / "ct" / f"copy_{path.name}").write_bytes(path.read_bytes())
    report = dataset(CT[0], Modality="SR", Rows=None, Columns=None, PixelData=b"")
    save(report, folder / "report.dcm")
    (folder / "README.txt").write_text("no image")


def test_a_study_is_listed_and_each_part_of_it_can_be_chosen(tmp_path):
    write_study(tmp_path)
    with pytest.raises(FileError) as caught:
        read_volume(tmp_path)
    assert str(caught.value).splitlines()[1:] == [
        f"  {tmp_path}#1: series 2 (LOCALIZER, CT): 2 images of 7 x 6",
        f"  {tmp_path}#2: series 2 (LOCALIZER, CT): 1 image of 7 x 6",
        f"  {tmp_path}#3: series 4 (CHEST, CT): 5 images of 7 x 6",
    ]
    assert np.array_equal(read_volume(f"{tmp_path}#3").array, HOUNSFIELD)
    second = read_volume(f"{tmp_path}#2")
    assert second.is_2d
    assert second.geometry.plane_name(0) == "sagittal"
    for number in (0, 4):
        with pytest.raises(FileError, match=f"no number {number}"):
            read_volume(f"{tmp_path}#{number}")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_labels_of_one_slice_lie_where_itk_sees_the_slice(tmp_path, suffix):
    path = save(dataset(CT[0], ImageOrientationPatient=list(oblique())), tmp_path / "image.dcm")
    labels = (CT[:1] % 3).astype(np.uint8)
    write_labels(tmp_path / f"labels{suffix}", labels, read_volume(path))
    back = SimpleITK.ReadImage(str(tmp_path / f"labels{suffix}"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(back), labels)
    image = SimpleITK.ReadImage(str(path))
    for voxel in ((0, 0, 0), (6, 5, 0)):
        places = [one.TransformIndexToPhysicalPoint(voxel) for one in (image, back)]
        np.testing.assert_allclose(*places, atol=1e-3)


def test_a_localizer_is_no_slice_of_the_series_that_it_was_stored_with(tmp_path):
    write_series(tmp_path / "scan", CT)
    made = dataset(CT[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImagePositionPatient=[-31, 12, 400])
    save(made, tmp_path / "scan" / "planning")
    assert np.array_equal(read_volume(tmp_path / "scan#1").array, HOUNSFIELD)
    assert read_volume(tmp_path / "scan#2").is_2d


def test_spacings_that_were_rounded_differently_are_one(tmp_path):
    for index, path in enumerate(write_series(tmp_path / "scan", CT)):
        made = dcmread(path)
        made.PixelSpacing = [0.7000000001 if index % 2 else 0.7, 0.8]
        save(made, path)
    assert np.array_equal(read_volume(tmp_path / "scan").array, HOUNSFIELD)
    made.PixelSpacing = [0.7001, 0.8]
    save(made, path)
    with pytest.raises(FileError, match="2 volumes or images"):
        read_volume(tmp_path / "scan")


def test_napari_gets_a_layer_for_each_part_and_a_note_on_the_rest(tmp_path):
    write_study(tmp_path)
    with pytest.warns(UserWarning, match="SR in .* are no images"):
        layers = get_reader(str(tmp_path))(str(tmp_path))
    name = tmp_path.name
    assert [(data.shape, arguments["name"]) for data, arguments, _ in layers] == [
        ((2, 6, 7), f"{name} 1: LOCALIZER"),
        ((6, 7), f"{name} 2: LOCALIZER"),
        ((5, 6, 7), f"{name} 3: CHEST"),
    ]


def test_a_broken_series_does_not_hide_the_others(tmp_path):
    write_study(tmp_path)
    (tmp_path / "report.dcm").unlink()
    for path in (tmp_path / "ct").glob("*42"):
        path.unlink()
    with pytest.warns(UserWarning, match="left out: series 4.*missing"):
        layers = get_reader(str(tmp_path))(str(tmp_path))
    assert [data.shape for data, _, _ in layers] == [(2, 6, 7), (6, 7)]
    with pytest.raises(FileError, match=r"slices are missing: 1 after -67\.50 mm"):
        read_volume(f"{tmp_path}#3")


def test_several_volumes_at_one_place(tmp_path):
    """Time points whose files lie in another order than they were taken."""
    for folder, time, offset in (("a", 2, 100), ("b", 1, 0)):
        write_series(tmp_path / folder, CT[:3] + offset, TemporalPositionIdentifier=time)
    with pytest.raises(
        FileError, match=r"#2: series 4 \(CHEST, CT\): 3 images of 7 x 6, 2 of 2 at this place"
    ):
        read_volume(tmp_path)
    assert np.array_equal(read_volume(f"{tmp_path}#2").array, HOUNSFIELD[:3] + 100)
    ((data, arguments, _),) = get_reader(str(tmp_path))(str(tmp_path))
    assert np.array_equal(data, np.stack([HOUNSFIELD[:3], HOUNSFIELD[:3] + 100]))
    assert arguments["scale"] == pytest.approx((1.0, 2.5, *SPACING_YX))
    assert arguments["units"] == ("pixel", "mm", "mm", "mm")


def test_stacks_of_one_file_are_kept_apart(tmp_path):
    """Two slabs that are parallel, further from each other than their slices are."""
    made = enhanced(CT, [0, 1, 2, 3, 4], [1.0] * 5)
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.StackID = "1" if number < 2 else "2"
        group.FrameContentSequence = [content]
        if number >= 2:
            group.PlanePositionSequence[0].ImagePositionPatient[2] += 50
    path = save(made, tmp_path / "slabs.dcm")
    assert np.array_equal(read_volume(f"{path}#1").array, CT[:2] - 1)
    assert np.array_equal(read_volume(f"{path}#2").array, CT[2:] - 1)


def test_images_without_a_place_stay_single(tmp_path):
    for name in ("a", "b"):
        save(dataset(CT[0], Modality="CR", ImagePositionPatient=None), tmp_path / name)
    with pytest.raises(FileError, match="2 volumes or images"):
        read_volume(tmp_path)
    assert read_volume(f"{tmp_path}#2").is_2d


def test_ids_that_were_made_anonymous_do_not_make_copies(tmp_path):
    write_series(tmp_path / "scan", CT, SOPInstanceUID="1.2.3.4")
    assert np.array_equal(read_volume(tmp_path / "scan").array, HOUNSFIELD)


# ------------------------------------------------------------------ napari


def test_layer_of_a_series(tmp_path):
    write_series(tmp_path / "scan", CT, WindowCenter=[40, 300], WindowWidth=[400, 1500])
    ((data, arguments, layer_type),) = get_reader(str(tmp_path / "scan"))(str(tmp_path / "scan"))
    assert (layer_type, arguments["name"], arguments["units"]) == ("image", "scan", ("mm",) * 3)
    assert arguments["scale"] == pytest.approx((2.5, *SPACING_YX))
    assert arguments["contrast_limits"] == (-160, 240)
    assert arguments["metadata"]["medicosam"]["modality"] == "CT"
    assert np.array_equal(data, HOUNSFIELD)


def test_a_list_of_files_is_one_series(tmp_path):
    paths = [str(path) for path in write_series(tmp_path / "scan", CT)]
    ((data, arguments, _),) = get_reader(paths[::-1])(paths[::-1])
    assert np.array_equal(data, HOUNSFIELD)
    assert arguments["name"] == "scan"
    (tmp_path / "text").write_text("no DICOM")
    assert get_reader([*paths, str(tmp_path / "text")]) is None
    assert get_reader([]) is None


def test_what_is_ours(tmp_path):
    (path, *_) = write_series(tmp_path / "scan", CT)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "text").write_text("no DICOM")
    assert get_reader(str(path)) is not None
    assert get_reader(str(tmp_path)) is not None
    assert get_reader(str(tmp_path / "pictures")) is None
    with pytest.raises(FileError, match="without DICOM files"):
        read_volume(tmp_path / "pictures")


def test_dicomdir_stands_for_its_folder(tmp_path):
    study = in_wheel("DICOMDIR").parent / "98892001" / "CT5N"
    for path in study.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "DICOMDIR").write_bytes(in_wheel("DICOMDIR").read_bytes())
    volume = read_volume(tmp_path / "DICOMDIR")
    assert volume.geometry.equals(read_volume(tmp_path).geometry)
    assert volume.array.shape == (5, 16, 16)
