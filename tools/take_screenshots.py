"""Pictures for the documentation: the widget on the shipped CT, before and after propagation.

xvfb-run -s "-screen 0 1600x1000x24" python tools/take_screenshots.py docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_medicosam import session
from napari_medicosam.io.sample import ct_abdomen


def main(folder: Path) -> None:
    scan = ct_abdomen()
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-medicosam", "ct_demo")
    viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    viewer.window.resize(1200, 760)
    viewer.dims.set_point(0, viewer.layers[0].scale[0] * scan.slice_index)
    annotation = session(viewer)
    annotation.set_image(viewer.layers[0])
    annotation.new_object(scan.organ)
    annotation.tool = "box"
    annotation.add_box(scan.slice_index, scan.box)
    if not annotation.wait(120):
        raise SystemExit("the mask did not come")
    viewer.reset_view()
    viewer.window.screenshot(str(folder / "segment.png"), canvas_only=False)
    annotation.propagate(z_range=(scan.slice_index - 2, scan.slice_index + 3))
    if not annotation.wait(240):
        raise SystemExit("the propagation did not end")
    viewer.dims.set_point(0, viewer.layers[0].scale[0] * (scan.slice_index + 2))
    QTest.qWait(500)  # the review strip follows with a delay
    viewer.window.screenshot(str(folder / "propagated.png"), canvas_only=False)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
