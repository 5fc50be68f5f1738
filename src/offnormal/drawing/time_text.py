"""Seconds as people read them: m:ss, to whole seconds or tenths."""

from __future__ import annotations

import math


def clock_text(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on.

    >>> clock_text(75), clock_text(3600), clock_text(-5)
    ('1:15', '1:00:00', '-0:05')
    """
    minutes, rest = divmod(round(abs(seconds)), 60)
    sign = "-" if seconds < 0 and (minutes or rest) else ""
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{rest:02}" if hours else f"{sign}{minutes}:{rest:02}"


def clock_tenths(seconds: float) -> str:
    """Seconds as m:ss.s, cut off and not rounded, so that a frame never shows a time to come.

    >>> clock_tenths(75.29), clock_tenths(3600)
    ('1:15.2', '1:00:00.0')
    """
    tenths = math.floor(seconds * 10 + 1e-6)
    return f"{clock_text(tenths // 10)}.{tenths % 10}"
