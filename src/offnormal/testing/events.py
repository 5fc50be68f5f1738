"""Events for the checks of sinks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from offnormal.sinks.base import Message
from offnormal.types import Event

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(number: int = 0, **changes: Any) -> Event:
    """A closed event, one minute later for each number; changes: fields to replace."""
    start = START + timedelta(minutes=number)
    default = Event(
        id=f"{start:%Y%m%dT%H%M%S}.000Z-{number:08x}",
        camera="porch",
        state="closed",
        start=start,
        end=start + timedelta(seconds=12.5),
        peak=start,
        peak_score=4.5,
        threshold=3.0,
        severity="high",
        p_value=1e-7,
        scores=((0.0, 4.5),),
        software="offnormal 0",
    )
    return replace(default, **changes)


def message(number: int = 0, folder: Path | None = None, **changes: object) -> Message:
    """A message with an event; folder: contains its image files."""
    described = event(number, **changes)
    return Message("closed" if described.state == "closed" else "opened", described, folder)
