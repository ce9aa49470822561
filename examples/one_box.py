"""One box on one slice of the shipped CT becomes the spleen: the same calls that the widget and the command make."""

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.prompts import BoxPrompt, PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.io.sample import ct_abdomen
from napari_medicosam.io.volumes import read_labels, read_volume
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

scan = ct_abdomen()
image = read_volume(scan.image)
model = load_weights("medicosam_lite")
mapping = resolve_intensity(scan.window, image.array)
store = MemoryEmbeddingStore(max_bytes=10**8).bind(EmbeddingKey(model.spec, model.weights_sha256, mapping))
service = SegmentationService(model, mapping, store)

plane = SlicePlane(axis=0, index=scan.slice_index)
prompts = PromptSet(plane, box=BoxPrompt(*scan.box))
result = service.segment(SegmentRequest(plane.cut(image.array), prompts))

truth = plane.cut(read_labels(scan.labels).array) == scan.label
print(f"{scan.organ} on slice {plane.index}: {result.mask.sum()} pixels, Dice {dice(result.mask, truth):.3f}")
