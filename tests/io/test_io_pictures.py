"""PNG, JPEG and TIFF: grey, RGB, palettes, 16 bits, alpha, EXIF, stacks, resolution."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.volumes import Volume, read_labels, read_volume, write_labels

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
STACK = RNG.integers(0, 256, (4, 5, 7), dtype=np.uint8)
LABELS = np.arange(35).reshape(1, 5, 7)


@pytest.mark.parametrize("pixels", [GREY, GREY16, RGB, GREY > 100], ids=["grey", "grey16", "rgb", "bilevel"])
def test_png(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "image.png")
    volume = read_volume(tmp_path / "image.png")
    assert volume.is_2d
    assert volume.is_rgb == (pixels.ndim == 3)
    assert volume.array.dtype == (np.uint8 if pixels.dtype == bool else pixels.dtype)
    assert np.array_equal(volume.array, pixels[None])
    assert np.array_equal(volume.geometry.affine_ras, np.eye(4))
    assert volume.header.unit is None
    write_labels(tmp_path / "labels.png", LABELS, volume)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels.png")), LABELS[0])
    write_labels(tmp_path / "labels.png", LABELS * 1000, volume, overwrite=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels.png")), LABELS[0] * 1000)
    for name in ("labels.nii.gz", "labels.tif", "labels.nrrd"):
        write_labels(tmp_path / name, LABELS, volume)
        written = read_labels(tmp_path / name)
        assert written.is_2d
        assert np.array_equal(written.array, LABELS)


def test_png_colour_with_16_bits_is_not_cut_to_8(tmp_path):
    colours = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), str(tmp_path / "image.png"))
    volume = read_volume(tmp_path / "image.png")
    assert volume.is_rgb
    assert np.array_equal(volume.array[0], colours)


def test_palette_gives_colours_for_an_image_and_indices_for_labels(tmp_path):
    picture = Image.fromarray(LABELS[0].astype(np.uint8), mode="P")
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "classes.png")
    volume = read_volume(tmp_path / "classes.png")
    assert volume.is_rgb
    assert np.array_equal(volume.array, palette[LABELS])
    assert np.array_equal(read_labels(tmp_path / "classes.png").array, LABELS)
    picture.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    picture.save(tmp_path / "grey.png")
    grey = read_volume(tmp_path / "grey.png")
    assert not grey.is_rgb
    assert np.array_equal(grey.array, 255 - LABELS)


@pytest.mark.parametrize("colours", [RGB, GREY[..., None]], ids=["RGBA", "LA"])
def test_alpha_is_dropped_only_when_opaque(tmp_path, colours):
    alpha = np.full((5, 7, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], axis=-1)).save(tmp_path / "opaque.png")
    assert np.array_equal(read_volume(tmp_path / "opaque.png").array[0], colours.squeeze())
    alpha[2, 3] = 254
    Image.fromarray(np.concatenate([colours, alpha], axis=-1)).save(tmp_path / "clear.png")
    with pytest.raises(FileError, match="partly transparent"):
        read_volume(tmp_path / "clear.png")


def test_transparent_colour_keys_count_as_alpha(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png", transparency=int(GREY[0, 0]))
    Image.fromarray(RGB).save(tmp_path / "rgb.png", transparency=tuple(int(v) for v in RGB[0, 0]))
    for name in ("grey.png", "rgb.png"):
        with pytest.raises(FileError, match="partly transparent"):
            read_volume(tmp_path / name)


def test_jpeg_is_never_rotated_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees when shown
    Image.fromarray(RGB).save(tmp_path / "image.jpg", exif=exif, quality=95)
    Image.fromarray(GREY).save(tmp_path / "grey.jpeg")
    assert read_volume(tmp_path / "image.jpg").array.shape == (1, 5, 7, 3)
    assert read_volume(tmp_path / "grey.jpeg").array.shape == (1, 5, 7)


def test_cmyk_and_animations_are_refused(tmp_path):
    Image.new("CMYK", (7, 5)).save(tmp_path / "print.jpg")
    with pytest.raises(FileError, match="CMYK"):
        read_volume(tmp_path / "print.jpg")
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match="2 frames"):
        read_volume(tmp_path / "film.png")


def test_png_refuses_what_it_cannot_hold(tmp_path):
    flat = Volume(GREY[None], Geometry.from_spacing((1, 5, 7)), is_2d=True)
    with pytest.raises(FileError, match="65535"):
        write_labels(tmp_path / "a.png", LABELS + 70000, flat)
    volume = Volume(STACK, Geometry.from_spacing((4, 5, 7)))
    with pytest.raises(FileError, match="4 slices"):
        write_labels(tmp_path / "a.png", STACK, volume)
    spaced = Volume(GREY[None], Geometry.from_spacing((1, 5, 7), (1, 0.5, 0.5)), is_2d=True)
    with pytest.raises(FileError, match="no spacing"):
        write_labels(tmp_path / "a.png", LABELS, spaced)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pixels", [GREY, GREY16, GREY.astype(np.float32), STACK, STACK.astype(">i4")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_grey(tmp_path, pixels, compression):
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="minisblack", compression=compression)
    volume = read_volume(tmp_path / "image.tif")
    assert volume.is_2d == (pixels.ndim == 2)
    assert volume.array.dtype == pixels.dtype.newbyteorder("=")
    assert volume.array.dtype.isnative
    assert np.array_equal(volume.array, pixels if pixels.ndim == 3 else pixels[None])
    assert volume.header.unit is None


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_rgb_and_rgb_stack(tmp_path, planar):
    stored = RGB if planar == "contig" else np.moveaxis(RGB, -1, 0)
    tifffile.imwrite(tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar)
    volume = read_volume(tmp_path / "rgb.tif")
    assert volume.is_rgb
    assert np.array_equal(volume.array[0], RGB)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([RGB, 255 - RGB]), photometric="rgb")
    stack = read_volume(tmp_path / "stack.tif")
    assert stack.is_rgb
    assert np.array_equal(stack.array, np.stack([RGB, 255 - RGB]))


def test_tiff_palette_and_lzw(tmp_path):
    colourmap = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    tifffile.imwrite(
        tmp_path / "p.tif", LABELS[0].astype(np.uint8), photometric="palette", colormap=colourmap
    )
    assert np.array_equal(read_volume(tmp_path / "p.tif").array, (colourmap.T >> 8)[LABELS])
    assert np.array_equal(read_labels(tmp_path / "p.tif").array, LABELS)
    frames = [Image.fromarray(frame) for frame in STACK]
    frames[0].save(tmp_path / "lzw.tif", compression="tiff_lzw", save_all=True, append_images=frames[1:])
    assert np.array_equal(read_volume(tmp_path / "lzw.tif").array, STACK)
    Image.fromarray(RGB).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    assert np.array_equal(read_volume(tmp_path / "lzw.tif").array[0], RGB)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("cm", 10.0)]
)
def test_imagej_spacing(tmp_path, unit, factor):
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": unit}
    tifffile.imwrite(
        tmp_path / "image.tif", STACK, imagej=True, resolution=(1 / 0.3, 1 / 0.7), metadata=metadata
    )
    volume = read_volume(tmp_path / "image.tif")
    assert volume.header.unit == "mm"
    assert np.allclose(volume.geometry.spacing_zyx, np.array((2.5, 0.7, 0.3)) * factor, rtol=1e-9)


@pytest.mark.parametrize(
    ("resolution", "unit", "spacing_yx"),
    [((20, 40), "CENTIMETER", (0.25, 0.5)), ((254, 254), "INCH", (0.1, 0.1)), ((72, 72), "INCH", None),
     ((96, 96), "INCH", None), ((3, 3), "NONE", None)],
)  # fmt: skip
def test_resolution_tags(tmp_path, resolution, unit, spacing_yx):
    tifffile.imwrite(tmp_path / "image.tif", GREY, resolution=resolution, resolutionunit=unit)
    volume = read_volume(tmp_path / "image.tif")
    assert volume.header.unit == (None if spacing_yx is None else "mm")
    assert np.allclose(volume.geometry.spacing_zyx[1:], spacing_yx or (1, 1))
    write_labels(tmp_path / "labels.tif", LABELS, volume)
    written = read_labels(tmp_path / "labels.tif")
    assert written.header.unit == volume.header.unit
    assert written.geometry.equals(volume.geometry, 1e-9)


def test_a_stack_without_slice_distance_has_no_known_spacing(tmp_path):
    tifffile.imwrite(
        tmp_path / "image.tif",
        STACK,
        photometric="minisblack",
        resolution=(20, 20),
        resolutionunit="CENTIMETER",
    )
    volume = read_volume(tmp_path / "image.tif")
    assert volume.header.unit is None
    assert volume.geometry.spacing_zyx == (1, 1, 1)


def test_ome_spacing(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.7, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(
        tmp_path / "image.ome.tif", STACK, ome=True, metadata={**metadata, "PhysicalSizeZUnit": "mm"}
    )
    volume = read_volume(tmp_path / "image.ome.tif")
    assert np.allclose(volume.geometry.spacing_zyx, (2.0, 0.0007, 0.0003))
    assert np.array_equal(volume.array, STACK)


@pytest.mark.parametrize("highest", [200, 60000, 70000])
def test_tiff_labels_keep_spacing_and_ids(tmp_path, highest):
    volume = Volume(STACK, Geometry.from_spacing((4, 5, 7), (2.5, 0.6835937, 0.3)))
    labels = np.zeros((4, 5, 7), int)
    labels[1, 2, 3] = highest
    write_labels(tmp_path / "labels.tif", labels, volume)
    written = read_labels(tmp_path / "labels.tif")
    assert np.array_equal(written.array, labels)
    assert np.allclose(written.geometry.spacing_zyx, (2.5, 0.6835937, 0.3), rtol=1e-8)
    assert np.array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 5), (1, 4, 1), (2, 3, 3), (2, 5, 4), (3, 5, 1)])
def test_tiff_labels_of_awkward_shapes(tmp_path, shape):
    volume = Volume(np.zeros(shape, np.uint8), Geometry.from_spacing(shape, (2.0, 0.5, 0.5)))
    for highest in (1, 70000):
        labels = np.zeros(shape, int)
        labels[-1, -1, -1] = highest
        write_labels(tmp_path / "labels.tif", labels, volume, overwrite=True)
        assert np.array_equal(read_labels(tmp_path / "labels.tif").array, labels)


def test_tiff_cannot_hold_a_position(tmp_path):
    moved = np.eye(4)
    moved[0, 3] = 12
    with pytest.raises(FileError, match="no position"):
        write_labels(tmp_path / "a.tif", STACK, Volume(STACK, Geometry((4, 5, 7), moved)))


@pytest.mark.parametrize(("axes", "shape", "word"), [("TYX", (4, 5, 7), "4 time points"), ("CYX", (2, 5, 7), "2 chan"),
                                                    ("TZYX", (2, 4, 5, 7), "2 time points")])  # fmt: skip
def test_tiff_channels_and_time_are_refused(tmp_path, axes, shape, word):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    with pytest.raises(FileError, match=word):
        read_volume(tmp_path / "image.tif")


def test_tiff_with_two_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "image.tif") as writer:
        writer.write(GREY, metadata=None)
        writer.write(GREY16[:3, :2], metadata=None)
    with pytest.raises(FileError, match="holds 2 images"):
        read_volume(tmp_path / "image.tif")
