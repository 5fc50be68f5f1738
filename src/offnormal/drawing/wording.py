"""Numbers, times, and names as text for people; a dash for a missing number."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from offnormal.errors import duration_text, score_text

if TYPE_CHECKING:
    from offnormal.metrics.decision import Share

NONE = "\N{EN DASH}"


def metric(value: float | None) -> str:
    """Format a metric in 0-1 with four decimals.

    >>> metric(0.98533), metric(None)
    ('0.9853', '–')
    """
    return NONE if value is None else f"{value:.4f}"


def share(value: float | None) -> str:
    """Format a share in 0-1 with three decimals, as in scikit-learn's tables."""
    return NONE if value is None else f"{value:.3f}"


def score(value: float | None) -> str:
    """Format a raw score or threshold."""
    return NONE if value is None else score_text(value)


def hundred(value: float | None) -> str:
    """Format a number per 100 with decimals that suit its size.

    >>> hundred(4.7619), hundred(0.123), hundred(0), hundred(30.93)
    ('4.8', '0.12', '0', '30.9')
    """
    if value is None:
        return NONE
    if value in (0, 100):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def percent(value: float | None) -> str:
    """Format a share in 0-1 in percent.

    >>> percent(0.0812), percent(None)
    ('8.1 %', '–')
    """
    return NONE if value is None else f"{hundred(100 * value)} %"


def rate(value: float | None) -> str:
    """Format a number per hour with digits that suit its size.

    >>> rate(0.043), rate(4.21), rate(1234.4), rate(0)
    ('0.043', '4.2', '1,234', '0')
    """
    if value is None:
        return NONE
    return hundred(value) if value < 10 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Format a duration in a suitable unit."""
    return NONE if seconds is None else duration_text(seconds)


def interval(value: Share) -> str:
    """Format the 95 % interval of a share, per 100."""
    return f"{hundred(value.low)} to {hundred(value.high)}"


def count(number: int) -> str:
    """Format an integer.

    >>> count(12400)
    '12,400'
    """
    return f"{number:,}"


def display_name(path: Path, root: Path) -> str:
    """Return a file's path relative to the dataset's root, with slashes; outside it, the whole path.

    Undecodable bytes and control characters become replacement characters.
    """
    name = (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cs", "Cc") else letter for letter in name)


def clock_text(seconds: float) -> str:
    """Format seconds as m:ss, or h:mm:ss from an hour on.

    >>> clock_text(75), clock_text(3600), clock_text(-5)
    ('1:15', '1:00:00', '-0:05')
    """
    minutes, remainder = divmod(round(abs(seconds)), 60)
    sign = "-" if seconds < 0 and (minutes or remainder) else ""
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{remainder:02}" if hours else f"{sign}{minutes}:{remainder:02}"


def clock_tenths(seconds: float) -> str:
    """Format seconds as m:ss.s, truncated, so that a frame never shows a future time.

    >>> clock_tenths(75.29), clock_tenths(3600)
    ('1:15.2', '1:00:00.0')
    """
    tenths = math.floor(seconds * 10 + 1e-6)
    return f"{clock_text(tenths // 10)}.{tenths % 10}"
