"""Image encoders in int8 that come with this package."""

from __future__ import annotations

import hashlib
from importlib import resources

from napari_medicosam.errors import WeightsError
from napari_medicosam.weights.registry import load_registry


def read_quantised(weights_sha256: str) -> bytes | None:
    """The verified file for `models.openvino_runtime.QuantisedRuntime`; None when there is none for these weights.

    Args:
        weights_sha256: of the weights that are in use: a graph made from others is never taken.

    Raises:
        WeightsError: for a file that is missing, or is not the one that the registry names.
    """
    for entry in load_registry().entries:
        int8 = entry.int8
        if int8 is None or int8.weights_sha256 != weights_sha256.lower():
            continue
        try:
            content = (resources.files("napari_medicosam.weights") / int8.file).read_bytes()
        except OSError as error:
            raise WeightsError(f"the int8 encoder {int8.file} cannot be read: install it again") from error
        if hashlib.sha256(content).hexdigest() != int8.sha256:
            raise WeightsError(f"the int8 encoder {int8.file} is not the published one: install it again")
        return content
    return None
