"""Events for checks of what delivers them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from offnormal.sinks.base import Message
from offnormal.types import Event

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(number: int = 0, **changes: Any) -> Event:
    """A closed event, a minute later for each number; changes: fields of its own."""
    start = START + timedelta(minutes=number)
    whole = Event(
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
    return replace(whole, **changes)


def message(number: int = 0, folder: Path | None = None, **changes: object) -> Message:
    """The message of such an event; folder: where its image files are."""
    sent = event(number, **changes)
    return Message("closed" if sent.state == "closed" else "opened", sent, folder)
