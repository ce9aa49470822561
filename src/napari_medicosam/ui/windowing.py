"""The window of intensities that the model sees: which ones to offer, and how it goes with the viewer's contrast."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from qtpy.QtCore import QTimer

from napari_medicosam.core.arguments import real_number, yes_or_no
from napari_medicosam.core.intensity import WINDOW_PRESETS, resolve_intensity
from napari_medicosam.errors import InputError, MedicoSamError
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.ui.layers import volume_of
from napari_medicosam.ui.model_choices import WINDOW_HELP

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_medicosam.ui.session import AnnotationSession

MODALITY_KEY = "modality"
"""`layer.metadata["medicosam"]["modality"]`, "CT" or "MR" as DICOM has it, decides before the intensities do."""

FOLLOW_MS = 400
"""How long the contrast must rest before the window follows it: every new window encodes the slice anew."""

Choices = tuple[tuple[str, str], ...]
"""(word of `resolve_intensity`, help)."""

_ANY_IMAGE = ("auto", "percentile", "minmax")
_IDENTITY_HELP = "8-bit values as they are stored"
_PROBE = np.array([[[0.0, 1.0]]])
_MAX_LOOKED_AT = 100_000
"""So few voxels are looked at in a few milliseconds, on the GUI thread too."""
_MAX_IN_SLICES = 4_000_000
"""Of whole slices, which lie together in memory, as quickly."""

_CT_LOW, _CT_HIGH = (-4096, -900), 300
"""Where the darkest voxel of a CT lies (air, and what scanners write outside their field), and below the brightest."""


class Windowing:
    """Window presets for the session's image, and the tie between window and contrast limits of the layer.

    All methods are for the GUI thread. Changes are announced by `session.events.changed`.

    Args:
        session: its window is set.
    """

    def __init__(self, session: AnnotationSession) -> None:
        self._session = session
        self._followed: Image | None = None
        self._shown: tuple[Any, Any] | None = None
        """Which image was given which contrast limits last, while they follow the window; None while they do not."""
        self._set_by_us = ""
        self._is_ct: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._ranged: WeakSet[Image] = WeakSet()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self._take_contrast)
        session.events.changed.connect(self._on_session_changed)

    def close(self) -> None:
        """Follow nothing any more."""
        self._listen_to(None)

    # ------------------------------------------------------------------ what to offer

    def choice_groups(self) -> tuple[Choices, ...]:
        """Windows to offer for the image, the group that makes most sense first.

        CT presets come first for CT, last for other images, and not at all for colour and 8-bit images: those are
        not in Hounsfield units.
        """
        image = self._session.image
        any_image = tuple((word, WINDOW_HELP[word]) for word in _ANY_IMAGE)
        ct = tuple((word, WINDOW_HELP[word]) for word in WINDOW_PRESETS)
        if image is None:
            return (any_image, ct)
        if image.rgb or image.dtype == np.uint8:
            return ((*any_image, ("identity", _IDENTITY_HELP)),)
        if self._looks_like_ct(image):
            return ((any_image[0], *ct), any_image[1:])
        return (any_image, ct)

    def choices(self) -> Choices:
        """`choice_groups`, one after the other."""
        return tuple(choice for group in self.choice_groups() for choice in group)

    # ------------------------------------------------------------------ the window and the viewer

    @property
    def has_contrast(self) -> bool:
        """True when the image is shown within contrast limits: every grey one is."""
        image = self._session.image
        return image is not None and not image.rgb

    @property
    def shown_range(self) -> tuple[float, float] | None:
        """The intensities that the model sees as black and as white; None while they must still be measured."""
        session = self._session
        if session.image is None or session.window_range is not None:
            return session.window_range
        mapping = resolve_intensity(session.window, _PROBE)
        # A preset of CT or LOW,HIGH is the same on every volume.
        return (mapping.low, mapping.high) if mapping.kind == "window" else None

    def set_range(self, low: float, high: float) -> None:
        """Show the model this range, from the next prompt on.

        Raises:
            InputError: unless low < high, both finite.
        """
        low, high = (real_number(end, "the end of a window") for end in (low, high))
        self._session.set_window(range_text(low, high))

    def show_in_viewer(self) -> None:
        """Show the image as the model sees it: its contrast limits become the window's.

        Raises:
            InputError: without a grey image, or before the worker has measured what the window's word stands for.
        """
        image = self._grey_image()
        shown = self.shown_range
        if shown is None:
            raise InputError(
                f"the window {self._session.window!r} is not measured on {image.name!r} yet: "
                "it is when the model first looks at the image"
            )
        image.contrast_limits = shown

    @property
    def shows_window(self) -> bool:
        """True while the contrast limits of the layer follow the window, whichever is annotated and chosen.

        What the user does to them in between stays until another window is chosen.

        Raises:
            InputError: when it is set without a grey image.
        """
        return self._shown is not None

    @shows_window.setter
    def shows_window(self, wanted: bool) -> None:
        if yes_or_no(wanted, "shows_window"):
            self._grey_image()
            self._listen_to(None)
            self._shown = None, None
            self._show_again()
        else:
            self._shown = None
        self._session.events.changed.emit()

    def _show_again(self) -> None:
        """Another image or window, or one that is measured by now."""
        image = self._session.image
        if self._shown is None or image is None or not self.has_contrast:
            return
        shown = self.shown_range
        if shown is not None and self._shown != (ref(image), shown):
            self._shown = ref(image), shown
            image.contrast_limits = shown

    @property
    def follow_contrast(self) -> bool:
        """True while the window follows the contrast limits of the layer, whichever is annotated.

        A window that is set otherwise, and an image without contrast limits, end it; the window then stays as it is.

        Raises:
            InputError: when it is set without a grey image.
        """
        return self._followed is not None

    @follow_contrast.setter
    def follow_contrast(self, wanted: bool) -> None:
        if yes_or_no(wanted, "follow_contrast") == self.follow_contrast:
            return
        if wanted:
            self._listen_to(self._grey_image())
            self._shown = None
            self._take_contrast()
        else:
            self._listen_to(None)
        self._session.events.changed.emit()

    def _grey_image(self) -> Image:
        image = self._session.image
        if image is None:
            raise InputError("there is no image: open one first")
        if image.rgb:
            raise InputError(f"{image.name!r} is in colour: it has no contrast limits, wanted a grey image")
        return image

    def _listen_to(self, image: Image | None) -> None:
        if self._followed is not None:
            self._followed.events.contrast_limits.disconnect(self._on_contrast)
        self._timer.stop()
        self._followed = image
        if image is not None:
            self._set_by_us = self._session.window
            image.events.contrast_limits.connect(self._on_contrast)

    def _on_contrast(self) -> None:
        self._timer.start()

    def _take_contrast(self) -> None:
        image, session = self._followed, self._session
        is_shown = session.image is image
        if image is None or not is_shown:
            return  # the viewer was closed, or the image removed, meanwhile
        low, high = (float(limit) for limit in image.contrast_limits)
        text = range_text(*_rounded(low, high))
        self._set_by_us = text
        if text != session.window:
            session.set_window(text)
            session.prepare()

    def _on_session_changed(self) -> None:
        """Another image is followed from now on; a window that somebody else set ends the following."""
        session = self._session
        self._open_range(session.image)
        self._show_again()
        if self._followed is None:
            return
        if session.window != self._set_by_us or not self.has_contrast:
            self._listen_to(None)
        elif session.image is not self._followed:
            self._listen_to(session.image)
            self._timer.start()

    # ------------------------------------------------------------------ how far the viewer's slider goes

    def _open_range(self, image: Image | None) -> None:
        """Let the contrast slider of an image that was opened in a window reach what is outside it; the limits stay.

        Napari takes limits that a layer is made with for all that there is.
        """
        if image is None or image in self._ranged:
            return
        self._ranged.add(image)
        if image.rgb or image.dtype.kind not in "iuf" or not _is_shut_in(image):
            return
        volume = volume_of(image, self._session.time)
        if type(volume) is np.ndarray:  # what lies on a disk or a server is not read for it
            self._reach(image, _ends(_many(volume)))

    def _reach(self, image: Image, ends: tuple[float, float] | None) -> None:
        if ends is not None and _is_shut_in(image):
            low, high = image.contrast_limits_range
            image.contrast_limits_range = min(low, ends[0]), max(high, ends[1])
            self._is_ct.pop(image, None)

    # ------------------------------------------------------------------ what the image is

    def _looks_like_ct(self, image: Image) -> bool:
        ours = image.metadata.get(METADATA_KEY)
        modality = ours.get(MODALITY_KEY) if isinstance(ours, dict) else None
        if modality:
            return str(modality).upper().split()[:1] == ["CT"]
        if image not in self._is_ct:
            self._is_ct[image] = _holds_hounsfield(image, self._session.time)
        return self._is_ct[image]


def range_text(low: float, high: float) -> str:
    """A range as the session's window has it: "LOW,HIGH", without loss and without needless digits."""
    return f"{_number(low)},{_number(high)}"


def _number(value: float) -> str:
    text = repr(float(value))
    return text.removesuffix(".0")


def _rounded(low: float, high: float) -> tuple[float, float]:
    """To a thousandth of the width: the model sees 256 values, and nobody wants to read 17 digits."""
    digits = 3 - math.floor(math.log10(high - low))
    return round(low, digits), round(high, digits)


def _holds_hounsfield(image: Image, time: int) -> bool:
    """The test that the window `auto` makes, on few voxels; on the range napari knows where voxels would be read."""
    if image.dtype.kind not in "if":
        return False
    volume = volume_of(image, time)
    if type(volume) is np.ndarray:
        try:
            return resolve_intensity("auto", _few(volume)).name in WINDOW_PRESETS
        except MedicoSamError:
            return False  # one value only, or none that is finite
    low, high = image.contrast_limits_range
    return bool(_CT_LOW[0] <= low <= _CT_LOW[1] and high >= _CT_HIGH)


def _few(volume: NDArray[Any]) -> NDArray[Any]:
    step = max(1, math.ceil((volume.size / _MAX_LOOKED_AT) ** (1 / 3)))
    return volume[::step, ::step, ::step]


def _is_shut_in(image: Image) -> bool:
    """True where the slider ends at the limits, so that nobody has set other ones since the layer was made."""
    return list(image.contrast_limits_range) == list(image.contrast_limits)


def _many(volume: NDArray[Any]) -> NDArray[Any]:
    """Some of its slices; of one that has very large slices a few voxels."""
    slices = volume[:: max(1, math.ceil(volume.size / _MAX_IN_SLICES))]
    return slices if slices.size <= 2 * _MAX_IN_SLICES else _few(volume)


def _ends(part: NDArray[Any]) -> tuple[float, float] | None:
    """The lowest and the highest finite value; None where there are no two."""
    low, high = float(part.min()), float(part.max())
    if not math.isfinite(low - high):
        part = part[np.isfinite(part)]
        low, high = (float(part.min()), float(part.max())) if part.size else (math.nan, math.nan)
    return (low, high) if low < high else None
