"""Embeddings as colours, and the picture and command that show them."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_medicosam.cli.evaluate import app
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.evaluation.embedding_pca import crop_padding, draw_embedding_pca, embedding_pca


def halves(channels=8, side=6):
    """Left and right differ most, then top and bottom."""
    y, x = np.mgrid[:side, :side]
    embedding = np.zeros((channels, side, side), np.float32)
    embedding[2] = 10 * (x >= side // 2)
    embedding[5] = 3 * (y >= side // 2)
    return embedding


def test_components_come_in_order_as_red_green_and_blue():
    colours = embedding_pca(halves())
    assert colours.shape == (6, 6, 3)
    assert colours.dtype == np.uint8
    left, right = colours[:, :3], colours[:, 3:]
    assert (left[..., 0].max(), right[..., 0].min()) == (0, 255)
    assert (colours[:3, :, 1].max(), colours[3:, :, 1].min()) == (0, 255)
    assert np.all(colours[..., 2] == 127)  # there is no third component
    assert np.array_equal(colours, embedding_pca(5 * halves() + 7))


def test_colours_follow_the_tokens_and_not_the_channels():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(16, 5, 7))
    colours = embedding_pca(embedding)
    assert np.array_equal(embedding_pca(embedding[:, ::-1]), colours[::-1])
    assert np.array_equal(embedding_pca(embedding[::-1]), colours)


@pytest.mark.parametrize("shape", [(4, 1, 1), (2, 3, 3), (1, 2, 2)])
def test_embeddings_with_less_than_three_components(shape):
    embedding = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert np.all(embedding_pca(embedding)[..., 2] == 127)
    assert np.all(embedding_pca(np.ones(shape, np.float32)) == 127)


def test_rounding_is_no_component():
    rng = np.random.default_rng(0)
    along_a_line = rng.normal(size=(16, 1, 1)) * rng.normal(size=(1, 6, 6))
    assert np.all(embedding_pca(along_a_line)[..., 1:] == 127)
    assert np.all(embedding_pca(np.full((16, 6, 7), 0.1)) == 127)


def test_embeddings_that_are_none():
    with pytest.raises(InputError, match="channels, rows, columns"):
        embedding_pca(np.zeros((4, 4)))
    with pytest.raises(InputError, match="not finite"):
        embedding_pca(np.full((2, 3, 3), np.nan))


def test_padding_is_cut_off():
    embedding = np.zeros((3, 16, 16))
    assert crop_padding(embedding, (100, 100)).shape == (3, 16, 16)
    assert crop_padding(embedding, (50, 100)).shape == (3, 8, 16)
    assert crop_padding(embedding, (100, 52)).shape == (3, 16, 9)
    assert crop_padding(embedding, (1, 100)).shape == (3, 1, 16)


def test_picture_has_a_row_a_model(tmp_path):
    images = [np.full((20, 20), 90, np.uint8), np.full((10, 20, 3), 90, np.uint8)]
    flat = [np.ones((4, 4, 4))] * 2
    one = draw_embedding_pca(images, {"a": flat}, tmp_path / "one.png", ["first", "second"])
    both = draw_embedding_pca(images, {"a": flat, "b": [halves(), halves()]}, tmp_path / "both.png")
    first, second = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (one, both))
    assert second.shape[0] > first.shape[0] + 200
    assert np.abs(np.diff(first)).max() < 60  # greys and the blue of smoothed text at most
    assert np.abs(np.diff(second)).max() == 255
    again = draw_embedding_pca(images, {"a": flat}, tmp_path / "again.png", ["first", "second"])
    assert again.read_bytes() == one.read_bytes()


def test_picture_refuses_what_does_not_fit(tmp_path):
    image, embedding = np.zeros((8, 8), np.uint8), np.ones((4, 4, 4))
    with pytest.raises(InputError, match="each of 2 images, got 1 of a"):
        draw_embedding_pca([image] * 2, {"a": [embedding]}, tmp_path / "x.png")
    with pytest.raises(InputError, match="got 2 of the captions"):
        draw_embedding_pca([image], {"a": [embedding]}, tmp_path / "x.png", ["1", "2"])
    with pytest.raises(InputError, match="at least one image"):
        draw_embedding_pca([], {"a": []}, tmp_path / "x.png")
    for path in (tmp_path / "missing" / "x.png", tmp_path / "x.unknown"):
        with pytest.raises(FileError, match="cannot write the figure"):
            draw_embedding_pca([image], {"a": [embedding]}, path)


@pytest.fixture
def data(tmp_path):
    """Two data sets of three and one images."""
    rng = np.random.default_rng(0)
    for name, number in (("one", 3), ("two", 1)):
        for kind in ("images", "masks"):
            (tmp_path / "data" / name / kind).mkdir(parents=True)
            for place in range(number):
                pixels = (
                    rng.integers(0, 255, (48, 64), np.uint8)
                    if kind == "images"
                    else np.zeros((48, 64), np.uint8)
                )
                pixels[10:20, 10:20] = 1
                Image.fromarray(pixels).save(tmp_path / "data" / name / kind / f"{place}.png")
    return tmp_path / "data"


def test_command(data, tmp_path):
    picture = tmp_path / "figure.png"
    words = ["embeddings", data, "--model", "sam_test", "-o", picture, "--images", 3, "--device", "cpu"]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"wrote {picture}" in result.output
    width, height = Image.open(picture).size
    assert width > height > 400
