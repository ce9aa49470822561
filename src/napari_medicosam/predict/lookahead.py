"""The next slice fetched on a thread of its own, while the masks of this one are decoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.predict.service import SegmentationService


class SliceLookahead:
    """Pixels of slices, as a context that ends the thread: nothing is read any more when it is left.

    Args:
        service: whose store holds the embeddings (`SegmentationService.fetch_ahead`).
        stack: the slices.
    """

    def __init__(self, service: SegmentationService, stack: SliceStack) -> None:
        self._service = service
        self._stack = stack
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="medicosam-lookahead")
        self._ahead: tuple[int, Future[NDArray[Any]]] | None = None

    def __enter__(self) -> SliceLookahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def pixels(self, index: int, following: int) -> NDArray[Any]:
        """Pixels (rows, columns) or (rows, columns, 3) of slice `index`; slice `following` is fetched from now on.

        Args:
            index: of the slice.
            following: the slice that is likely to be next; one beyond the stack is none.

        Raises:
            MedicoSamError: what reading this slice, or its embedding, raises: then, when it is asked for.
        """
        ahead, self._ahead = self._ahead, None
        found = ahead[1].result() if ahead is not None and ahead[0] == index else self._stack.pixels(index)
        if 0 <= following < len(self._stack):
            self._ahead = following, self._executor.submit(self._fetch, following)
        return found

    def _fetch(self, index: int) -> NDArray[Any]:
        pixels = self._stack.pixels(index)
        self._service.fetch_ahead(self._stack.plane(index), pixels)
        return pixels
