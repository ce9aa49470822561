"""Layers turned out of the slice, and laid elsewhere: what is seen is what is clicked on, and files do not know."""

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from ui_helpers import canvas_position, drag

from napari_medicosam.errors import InputError
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.records import record_of
from napari_medicosam.ui.factory import lay_along_axes, lay_as_opened
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME, POINTS_NAME
from napari_medicosam.ui.laying import Laying, place_of, where_lies
from napari_medicosam.ui.tilt_bar import TiltBar

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


def turned(degrees, first, second, at=(100, -300, 20)):
    """An affine that turns one axis of the world into another one, far from the place it turns about."""
    turn, affine = np.deg2rad(degrees), np.eye(4)
    affine[first, first] = affine[second, second] = np.cos(turn)
    affine[first, second], affine[second, first] = -np.sin(turn), np.sin(turn)
    affine[:3, 3] = at
    return affine


@pytest.mark.parametrize(
    ("axis", "affine"),
    [(0, turned(25, 0, 1)), (1, turned(-40, 1, 2) @ turned(15, 0, 1)), (0, np.eye(4))],
    ids=["turned", "turned twice", "between two slices"],
)
def test_what_is_drawn_lands_on_the_slice_and_under_the_mouse(make_session, qtbot, axis, affine):
    viewer, session = make_session(show=True, affine=affine, scale=(3, 1, 1))
    viewer.window.resize(1200, 800)
    viewer.dims.order = (axis, *(one for one in range(3) if one != axis))
    session.tool = "point+"
    voxel, corner = np.array((4, 10, 30)), np.array((8, 16, 38))
    corner[axis] = voxel[axis]
    session.go_to(voxel[axis])
    if np.array_equal(affine, np.eye(4)):
        viewer.add_image(np.zeros((24, 4, 4)), scale=(1.5, 1, 1))
        viewer.dims.set_point(0, 13.5)
        assert session.image._data_slice.point[0] == 4.5
        session.tool = "point+"
    viewer.reset_view()
    qtbot.wait(50)
    shown = np.asarray(session.image._slice.image.raw)
    np.testing.assert_array_equal(shown, np.take(session.image.data, voxel[axis], axis))

    native = viewer.window._qt_viewer.canvas.native
    begin, end = (canvas_position(viewer, session.image, one) for one in (voxel, corner))
    QTest.mouseMove(native, begin)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, begin)
    qtbot.waitUntil(lambda: len(viewer.layers[POINTS_NAME].data) == 1)
    np.testing.assert_allclose(viewer.layers[POINTS_NAME].data[0], voxel, atol=0.5)

    session.tool = "box"
    drag(native, begin, end)
    qtbot.waitUntil(lambda: len(session.prompts.boxes) == 1)
    (box,) = session.prompts.boxes
    assert (box.axis, box.index) == (axis, voxel[axis])
    low, high = (np.delete(one, axis) + 0.5 for one in (voxel, corner))
    np.testing.assert_allclose(box.bounds, (*low, *high), atol=0.6)

    session.tool = "scribble+"
    drag(native, begin, end)
    qtbot.waitUntil(lambda: len(session.prompts.scribbles) == 1)
    (scribble,) = session.prompts.scribbles
    assert (scribble.axis, scribble.index) == (axis, voxel[axis])
    ends = [np.delete(one, axis) for one in (voxel, corner)]
    np.testing.assert_allclose([scribble.path_yx[0], scribble.path_yx[-1]], ends, atol=0.6)

    session.clear_prompts()
    labels = viewer.layers[OBJECT_NAME]
    viewer.layers.selection.active = labels
    labels.brush_size, labels.mode = 1, "paint"
    drag(native, begin, end)
    painted = np.argwhere(labels.data)
    assert set(painted[:, axis]) == {voxel[axis]}
    np.testing.assert_array_equal([painted.min(axis=0), painted.max(axis=0)], [voxel, corner])


OBLIQUE = turned(20, 1, 2, (-90, 50, -700)) @ np.diag([-0.8, -0.8, 3, 1])
SAGITTAL = np.array([[0, 0, 2.0, -9], [-1, 0, 0, 30], [0, -1, 0, 7], [0, 0, 0, 1]]) @ turned(
    9, 0, 1, (0, 0, 0)
)
VOXELS = np.array(((0, 0, 0), (11, 0, 3), (4, 39, 9), (7, 20, 49)))


@pytest.fixture
def scan(tmp_path):
    """Writes a NIfTI file, and reads it as napari does: data and keyword arguments of a layer."""

    def scan(affine):
        voxels = np.random.default_rng(0).integers(0, 255, (50, 40, 12)).astype(np.int16)
        nibabel.save(nibabel.Nifti2Image(voxels, affine), tmp_path / "scan.nii")
        ((data, arguments, _),) = get_reader(str(tmp_path / "scan.nii"))(str(tmp_path / "scan.nii"))
        return data, arguments

    return scan


def is_in_the_patients_world(layer):
    """True when voxels lie at (head, back, left), as the file says."""
    x, y, z = record_of(layer.metadata).geometry.index_to_ras_mm(VOXELS).T
    return np.allclose([layer.data_to_world(voxel) for voxel in VOXELS], np.transpose([z, -y, -x]), atol=1e-6)


@pytest.mark.parametrize("affine", [OBLIQUE, SAGITTAL], ids=["axial", "sagittal"])
def test_a_scan_goes_to_the_patients_world_and_comes_back_as_it_was(scan, affine):
    data, arguments = scan(affine)
    viewer = ViewerModel(ndisplay=3)
    laying = Laying(viewer)
    layer = viewer.add_layer(Image(data, **arguments))
    opened = layer.affine.affine_matrix.copy()
    laying.lay(layer, "opened")
    np.testing.assert_array_equal(layer.affine.affine_matrix, opened)
    laying.lay(layer, "own")
    assert where_lies(layer) == "own"
    np.testing.assert_allclose(abs(place_of(layer)[:3, :3]), np.diag(layer.scale), atol=1e-9)
    laying.lay(layer, "world")
    assert is_in_the_patients_world(layer)
    assert where_lies(layer) == ("opened" if affine is OBLIQUE else "world")
    layer.translate = (1, 2, 3)
    moved = layer.data_to_world((4, 5, 6))
    laying.lay(layer, "own")
    laying.lay(layer, "opened")
    np.testing.assert_allclose(layer.affine.affine_matrix, opened, atol=1e-9)
    np.testing.assert_array_equal(layer.translate, (1, 2, 3))
    laying.lay(layer, "world")
    np.testing.assert_allclose(layer.data_to_world((4, 5, 6)), moved, atol=1e-9)


def test_slices_that_2d_cannot_show_are_never_left_in_2d(make_session, scan, notices):
    data, arguments = scan(np.array([[0, 0, 2.0, -9], [-1, 0, 0, 30], [0, -1, 0, 7], [0, 0, 0, 1]]))
    arguments.pop("name")
    viewer, session = make_session(data, **arguments)
    before = session.image.affine.affine_matrix.copy()
    with pytest.raises(InputError, match="switch to 3D first"):
        session.lay("world")
    np.testing.assert_array_equal(session.image.affine.affine_matrix, before)
    session.tool = "point+"
    viewer.dims.ndisplay = 3
    session.lay("world")
    assert is_in_the_patients_world(session.image)
    viewer.dims.ndisplay = 2  # napari fails here where such a layer is left as it is
    for layer in (session.image, *session.own_layers):
        np.testing.assert_array_equal(layer.affine.affine_matrix, before)
    assert any("as it was opened again" in notice for notice in notices)


def test_labels_are_the_same_file_wherever_the_scan_lies(make_session, scan, tmp_path):
    data, arguments = scan(OBLIQUE)
    arguments.pop("name")
    viewer, session = make_session(data, **arguments)
    session.add_box(3, (5, 5, 20, 25))
    session.commit()
    session.go_to(3)
    viewer.layers.selection = {viewer.layers[LABELS_NAME]}
    assert is_in_the_patients_world(session.image), "an axial scan, however oblique, is opened there"
    for where, command in (("own", lay_along_axes), ("opened", lay_as_opened)):
        command(viewer)
        assert where_lies(session.image) == where
        assert session.slice_index == 3
        session.save_labels(tmp_path / f"{where}.nii.gz")
        assert session.wait(30)
    own, opened, image = (
        nibabel.load(tmp_path / name) for name in ("own.nii.gz", "opened.nii.gz", "scan.nii")
    )
    np.testing.assert_array_equal(own.dataobj, opened.dataobj)
    assert np.count_nonzero(own.dataobj) == 300
    assert own.affine.tobytes() == opened.affine.tobytes()
    np.testing.assert_allclose(own.affine, image.affine, atol=1e-6)

    assert is_in_the_patients_world(session.image)
    viewer.dims.ndisplay = 3
    for layer in session.own_layers:
        np.testing.assert_allclose(place_of(layer), place_of(session.image), atol=1e-9)
    viewer.dims.ndisplay = 2
    session.lay("own")
    for layer in session.own_layers:
        np.testing.assert_array_equal(layer.affine.affine_matrix, session.image.affine.affine_matrix)


def test_an_oblique_scan_is_offered_as_it_was_recorded(make_session, scan):
    data, arguments = scan(turned(25, 1, 2, (-90, 50, -700)) @ np.diag([-0.8, -0.8, 3, 1]))
    arguments.pop("name")
    viewer, session = make_session(data, **arguments)
    bar = TiltBar(session=session)
    assert not bar.isHidden()
    assert "9 %" in bar._text.text()  # the cosine of 25 degrees is 0.91
    viewer.dims.order = (2, 0, 1)  # sagittal slices, which turn within themselves
    assert bar.isHidden()
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    assert bar.isHidden()
    viewer.dims.ndisplay = 2
    assert not bar.isHidden()
    bar._lay.click()
    assert where_lies(session.image) == "own"
    assert bar.isHidden()
    assert np.linalg.norm(
        session.image.data_to_world((0, 1, 0)) - np.array(session.image.data_to_world((0, 0, 0)))
    ) == (pytest.approx(0.8))
    session.lay("opened")
    assert not bar.isHidden()


def test_committed_labels_lie_as_the_image_but_where_it_is_drawn_while_they_are_painted_on(make_session):
    viewer, session = make_session(affine=turned(25, 0, 1), scale=(3, 1, 1))
    session.add_box(5, (5, 5, 20, 25))
    session.commit()
    labels, edited = viewer.layers[LABELS_NAME], viewer.layers[OBJECT_NAME]
    full = session.image.affine.affine_matrix
    assert not np.allclose(edited.affine.affine_matrix, full)
    np.testing.assert_array_equal(labels.affine.affine_matrix, full)
    labels.mode = "paint"
    np.testing.assert_array_equal(labels.affine.affine_matrix, edited.affine.affine_matrix)
    labels.mode = "pan_zoom"
    np.testing.assert_array_equal(labels.affine.affine_matrix, full)


def test_a_turned_scan_far_from_the_origin_comes_into_sight(make_session, scan):
    data, arguments = scan(turned(25, 1, 2, (0, 400, 0)) @ np.diag([-0.8, -0.8, 3, 1]))
    arguments.pop("name")
    viewer = ViewerModel()
    image = viewer.add_layer(Image(data, **arguments))
    assert not 0 <= image._data_slice.point[0] < 12, "napari shows none of the slices of it"
    viewer, session = make_session(data, **arguments)
    session.tool = "point+"
    assert session.slice_index == 6
    np.testing.assert_array_equal(session.image._slice.image.raw, data[6])


def test_an_image_that_cannot_be_seen_takes_no_clicks_until_it_is_laid(make_session, notices):
    swapped = turned(88, 0, 1, (0, 0, 0))
    viewer, session = make_session(affine=swapped, scale=(3, 1, 1))
    with pytest.raises(InputError, match="right angle"):
        session.tool = "box"
    session.add_point((4, 10, 30))  # a script says where, and need not see it
    labels = viewer.layers[OBJECT_NAME]
    before = labels.data.copy()
    assert before.any()
    viewer.layers[POINTS_NAME].add((2, 5, 5))
    labels.paint((7, 30, 30), 1)
    assert len(session.prompts.points) == 1
    np.testing.assert_array_equal(labels.data, before)
    assert [notice.count("right angle") for notice in notices] == [1, 1]

    session.lay("own")
    session.tool = "box"
    session.go_to(2)
    np.testing.assert_allclose(session.image.data_to_world((2, 5, 6)), (6, -5, 6))
    viewer.layers[POINTS_NAME].add(session._layers._position())
    assert session.prompts.points[-1].position_zyx[0] == 2
    viewer.dims.ndisplay = 3
    session.lay("world")
    np.testing.assert_array_equal(session.image.affine.affine_matrix, swapped)
    assert not session.image.metadata["medicosam"]


@pytest.mark.parametrize(("where", "ndim"), [("here", 3), ("world", 2)])
def test_what_cannot_be_laid_is_an_input_error(where, ndim):
    viewer = ViewerModel()
    layer = viewer.add_layer(Image(np.zeros((4,) * ndim)))
    with pytest.raises(InputError, match=r"wanted a volume|'own'"):
        Laying(viewer).lay(layer, where)
