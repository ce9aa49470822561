"""The errors users see. Every message says what was got and what was wanted."""

from __future__ import annotations


class MedicoSamError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(MedicoSamError, ValueError):
    """An array, prompt, plane or setting that cannot be used."""


class FileError(MedicoSamError):
    """An image, label map or prompt file that cannot be read or written."""


class WeightsError(MedicoSamError):
    """A name that the registry does not know, or a file of weights that cannot be fetched or verified."""


class CheckpointError(WeightsError):
    """A file that is not a checkpoint, or whose tensors do not fit the model asked for."""


class CacheError(MedicoSamError):
    """An embedding store that cannot be opened, read or written."""


class TrainingError(MedicoSamError):
    """A training config, data set or run folder that cannot be used, or a training step that went wrong."""


class ClusterError(MedicoSamError):
    """A cluster for many images that cannot be reached, is not set up for this package, or was lost."""
