"""Errors that a user can act on: each message says what was found, what was expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class OffnormalError(Exception):
    """Base class of all errors that the library raises on purpose."""


class UsageError(OffnormalError):
    """A command line or a call is invalid."""


class ConfigError(OffnormalError):
    """A configuration key or value is invalid."""


class PluginError(OffnormalError):
    """A plug-in cannot be imported, or its class does not match its group."""


class DataError(OffnormalError):
    """A dataset, its folder tree, its labels, or its masks are not as expected."""


class ImageError(DataError):
    """An image could not be read."""


class VideoError(DataError):
    """A video could not be read."""


class WeightsError(OffnormalError):
    """Pretrained weights are missing, damaged, or do not fit the network."""


class BundleError(OffnormalError):
    """A saved detector is missing, damaged, or has another format version."""


class NotFittedError(OffnormalError):
    """A detector must be fitted before it scores."""


class FitError(OffnormalError):
    """A detector could not be fitted to the data."""


class CalibrationError(OffnormalError):
    """A threshold cannot be guaranteed, or a calibration is missing or does not belong to the bundle."""


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "frame"), counted(12400, "frame"), counted(0, "category", "categories")
    ('1 frame', '12,400 frames', '0 categories')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def rounded(value: float, digits: int = 3) -> str:
    """Format a number with so many significant digits, and with all digits before the decimal point.

    >>> rounded(0.01234), rounded(1043.7), rounded(2.0), rounded(150.2, 2)
    ('0.0123', '1,044', '2', '150')
    """
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def name_some(names: Iterable[str], limit: int = 3, *, total: int | None = None) -> str:
    """Return the first names, and how many more there are; total: number of names, if `names` are only the first.

    >>> name_some(["a", "b", "c", "d"])
    'a, b, c, and 1 more'
    """
    listed = list(names)
    more = (total or len(listed)) - limit
    return ", ".join(listed[:limit]) + (f", and {more:,} more" if more > 0 else "")


def score_text(value: float) -> str:
    """Format a score or threshold with four significant digits, and with all digits before the decimal point.

    >>> score_text(173.0), score_text(0.05), score_text(1234.0), score_text(56789012.3)
    ('173.0', '0.05000', '1234', '56789012')
    """
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:#.4g}".rstrip(".")


def duration_text(seconds: float) -> str:
    """Format a duration in a suitable unit.

    >>> duration_text(0.24), duration_text(59.96), duration_text(150), duration_text(9000)
    ('0.24 s', '60 s', '2.5 min', '2.5 h')
    """
    size, unit = (1, "s") if seconds < 90 else (60, "min") if seconds < 5400 else (3600, "h")
    return f"{rounded(seconds / size, 2)} {unit}"
