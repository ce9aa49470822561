"""What goes wrong for reasons of ours, in the log: where it happened, and nothing that names a file or a patient."""

from __future__ import annotations

import logging
import traceback

_MAX_CAUSES = 8
_logger = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> None:
    """Log a failure with its kinds and lines of code, causes included.

    Its own words are left out: those of the file system and of libraries hold paths, which name patients often enough.
    """
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < _MAX_CAUSES:
        frames = traceback.format_list(traceback.extract_tb(cause.__traceback__))
        parts.append("".join([type(cause).__name__, "\n", *frames]))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    _logger.error("%s: %s", what, "caused by ".join(parts).rstrip())
