"""A script that uses a session and ends without closing its window ends quietly."""

import subprocess
import sys

CODE = """
import atexit
import napari, numpy as np
from qtpy.QtWidgets import QApplication

atexit.register(lambda: print(len(QApplication.topLevelWidgets()), "windows"))  # the last to be called
from napari_medicosam import session

viewer = napari.Viewer(show=True)
layer = viewer.add_image(np.random.default_rng(0).integers(0, 255, (6, 40, 50), dtype=np.uint8))
viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
annotation = session(viewer)
annotation.set_model("sam_test")
annotation.set_image(layer)
annotation.add_box(2, (5, 5, 30, 30))
annotation.wait()
print(annotation.num_open_voxels, "voxels")
END
"""


def end(how):
    return subprocess.run(
        [sys.executable, "-c", CODE.replace("END", how)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_script_that_leaves_its_window_open():
    ended = end("annotation.add_box(4, (5, 5, 30, 30))")
    assert "voxels" in ended.stdout
    assert "\n0 windows" in ended.stdout  # PyQt crashes now and then when it has to take them apart itself
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Traceback" not in ended.stderr


def test_a_script_that_fails_fails_with_its_own_error():
    ended = end("raise SystemExit('my own words')")
    assert ended.returncode == 1, ended.stderr[-2000:]
    assert "my own words" in ended.stderr
    assert "Traceback" not in ended.stderr
