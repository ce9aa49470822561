"""Every model of the registry works in the original SamPredictor of segment-anything."""

import numpy as np
from segment_anything import SamPredictor

from napari_medicosam import load_model, read_volume
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.io.sample import ct_abdomen

scan = ct_abdomen()
image = read_volume(scan.image)
pixels = resolve_intensity(scan.window, image.array).to_uint8(image.array[scan.slice_index])

predictor = SamPredictor(load_model("medicosam_lite"))
predictor.set_image(np.repeat(pixels[..., None], 3, axis=-1))
y0, x0, y1, x1 = scan.box
masks, scores, _ = predictor.predict(box=np.array([x0, y0, x1, y1]), multimask_output=False)
print(f"{scan.organ}: {masks[0].sum()} pixels, predicted IoU {scores[0]:.2f}")
