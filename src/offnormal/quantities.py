"""Quantities as people write them: sizes, times, shares. What cannot be read is a ValueError that says what can."""

from __future__ import annotations

import re
from typing import Any


def size_text(value: Any) -> Any:
    """N, HxW, [H, W] or (H, W) -> "N" or "HxW"; anything else is not a size."""
    if isinstance(value, list | tuple):
        value = "x".join(map(str, value))
    text = str(value).replace(" ", "").lower()
    if not re.fullmatch(r"\d+(x\d+)?", text) or any(int(side) < 16 for side in text.split("x")):
        raise ValueError("expected N or HxW in pixels, at least 16, such as 256 or 256x320")
    return text


def seconds_text(value: Any) -> Any:
    """A number of seconds, with or without a unit."""
    text = str(value).replace(" ", "").lower()
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(ms|s|min|h)?", text)
    if match is None or float(match[1]) == 0:
        raise ValueError("expected a time above 0 such as 5s, 500ms or 2min")
    return text


def seconds(text: str) -> float:
    """A time as the configuration takes it, in seconds.

    >>> seconds("5s"), seconds("500ms"), seconds("2min"), seconds("0.5")
    (5.0, 0.5, 120.0, 0.5)
    """
    number = text.rstrip("hmins")
    return float(number) * {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}[text[len(number) :]]


def sides(size: str) -> int | tuple[int, int]:
    """A size as the configuration takes it as numbers: N, or (H, W)."""
    height, _, width = size.partition("x")
    return (int(height), int(width)) if width else int(height)


def shares_text(value: Any) -> Any:
    """50/40/10 or [50, 40, 10]: per cent of the clips for learning, tests and calibration, together 100."""
    if isinstance(value, list | tuple):
        value = "/".join(map(str, value))
    numbers = re.fullmatch(r"(\d+\.?\d*)/(\d+\.?\d*)/(\d+\.?\d*)", str(value).replace(" ", ""))
    if numbers is None or min(map(float, numbers.groups())) <= 0 or abs(sum(map(float, numbers.groups())) - 100) > 1e-6:
        raise ValueError("expected three shares above 0 that make 100, such as 50/40/10 (train/test/calibration)")
    return numbers[0]
