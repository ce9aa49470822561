"""Shader programs: none crashes the driver, which is tested in a process of its own, and none is built for nothing."""

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtTest import QTest
from vispy.visuals.shaders import ModularProgram

from napari_medicosam.ui.vispy_programs import draw_no_empty_texts, keep_programs_of_meshes

CODE = """
import napari, numpy as np
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel
PATCH
viewer = napari.Viewer(show=True)
beside = QLabel("short")
viewer.window.add_dock_widget(beside, area="right")

def scan():
    return viewer.add_image(np.zeros((20, 390, 390), np.int16))

scan()
for _ in range(2):
    viewer.add_labels(np.zeros((20, 390, 390), np.uint16))
for _ in range(2):
    viewer.add_shapes(ndim=3)
viewer.add_points(ndim=3)
viewer.layers.selection.active = viewer.layers[3]
viewer.layers[3].mode = "add_rectangle"
QTest.qWait(600)
for layer in list(viewer.layers)[LEAVE:]:
    viewer.layers.remove(layer)
NEXT
beside.setMinimumWidth(420)
QTest.qWait(600)
viewer.close()
print("alive")
"""
PATCH = "from napari_medicosam.ui.vispy_programs import let_go_of_deleted_programs as go; go(); go()"


@pytest.mark.parametrize(
    ("leave", "then"),
    [
        pytest.param("0", "scan()", id="an image is replaced"),
        pytest.param(
            "1", "QTest.qWait(100); viewer.add_points(ndim=3)", id="all layers but the image are removed"
        ),
    ],
)
def test_layers_go_while_a_dock_grows(leave, then):
    code = CODE.replace("PATCH", PATCH).replace("LEAVE", leave).replace("NEXT", then)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "alive" in ended.stdout


def test_no_program_is_built_to_show_another_slice(make_napari_viewer, monkeypatch):
    keep_programs_of_meshes()
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((4, 30, 30), np.uint8))
    corners = [[1, 5, 5], [1, 5, 25], [1, 25, 25], [1, 25, 5]]
    shapes = viewer.add_shapes([corners], ndim=3, face_color="lime", edge_width=0, opacity=1)
    viewer.add_shapes(ndim=3)

    def shown(index):
        viewer.dims.set_current_step(0, index)
        QTest.qWait(20)
        middle = viewer.screenshot(flash=False)
        return tuple(middle[middle.shape[0] // 2, middle.shape[1] // 2, :3].tolist())

    assert [shown(index) for index in (0, 1, 2)] == [(0, 0, 0), (0, 255, 0), (0, 0, 0)]
    built = []
    build = ModularProgram._build
    monkeypatch.setattr(ModularProgram, "_build", lambda program: (built.append(program), build(program)))
    assert [shown(index) for index in (1, 3)] == [(0, 255, 0), (0, 0, 0)]
    shapes.face_color = "red"
    assert shown(1) == (255, 0, 0)
    assert built == []


def test_a_text_is_drawn_from_its_first_letter_on(make_napari_viewer, monkeypatch):
    draw_no_empty_texts()
    built = []
    build = ModularProgram._build
    monkeypatch.setattr(ModularProgram, "_build", lambda program: (built.append(program), build(program)))
    viewer = make_napari_viewer(show=True)
    points = viewer.add_points(
        [[15, 15]], features={"word": ["wide"]}, size=1, face_color="red", border_width=0
    )
    node = viewer.window._qt_viewer.canvas.layer_to_visual[points].node.text

    def shows_white():
        QTest.qWait(20)
        return (viewer.screenshot(flash=False)[..., :3] > 200).all(axis=-1).any()

    assert not shows_white()
    num_built = len(built)
    assert num_built
    points.text = {"string": "{word}", "color": "white", "size": 30}
    assert shows_white()
    assert len(built) == num_built + 1
    points.text = None
    assert node.text[0] == ""
    assert not shows_white()
