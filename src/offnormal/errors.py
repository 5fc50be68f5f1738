"""Errors that a user can act on: each message says what was got, what was expected and what to do."""

from __future__ import annotations


class OffnormalError(Exception):
    """Root of every error that the library raises on purpose."""


class UsageError(OffnormalError):
    """The command line or a call was put together wrongly."""


class ConfigError(OffnormalError):
    """A configuration value or key is wrong."""


class PluginError(OffnormalError):
    """What a plug-in registers cannot be imported, or is not what it is registered as."""


class DataError(OffnormalError):
    """A dataset, its tree, its labels or its masks are not what was expected."""


class ImageError(DataError):
    """One picture could not be read."""


class VideoError(DataError):
    """A video could not be read."""


class WeightsError(OffnormalError):
    """Pretrained weights are missing, damaged or do not fit the network."""


class BundleError(OffnormalError):
    """A saved detector is missing, damaged or of another format version."""


class NotFittedError(OffnormalError):
    """A detector was asked for scores before it was fitted."""


class FitError(OffnormalError):
    """A detector could not be fitted to the data given."""


class CalibrationError(OffnormalError):
    """A threshold cannot be guaranteed, or a calibration is missing or does not belong to the bundle."""
