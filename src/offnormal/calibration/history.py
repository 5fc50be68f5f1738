"""The calibrations of a bundle: which one is current, what each one guarantees, and what a newer one makes worse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.errors import CalibrationError, score_text
from offnormal.types import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One calibration of the history, without its scores."""

    number: int  # from 1; never used twice
    id: str  # of the calibration
    created: str  # UTC, ISO 8601
    source: str  # `fit`, or the path of the normal data
    fingerprint: str | None  # of the data; None: unknown
    kind: Kind
    normals: int  # scores
    groups: int  # 0: unknown
    rate: Rate
    interval: tuple[float, float]
    threshold: float
    guarantee: str
    has_mask: bool  # whether it has a privacy mask of its own


@dataclass(frozen=True, slots=True)
class History:
    """Every calibration of a bundle in the order in which they were made; `current` is the one that applies."""

    entries: tuple[Entry, ...] = ()
    current: int | None = None
    earlier: tuple[int, ...] = ()  # that applied before, the newest last

    @property
    def current_entry(self) -> Entry | None:
        """The calibration that applies; None: the bundle is not calibrated."""
        return None if self.current is None else self.entry(self.current)

    def entry(self, number: int) -> Entry:
        """The calibration of a number; CalibrationError if there is none."""
        for entry in self.entries:
            if entry.number == number:
                return entry
        numbers = ", ".join(str(entry.number) for entry in self.entries) or "none"
        raise CalibrationError(f"no calibration {number} in this bundle; expected one of {numbers}")

    def add(self, calibration: Calibration, *, source: str, fingerprint: str | None, number: int = 0) -> History:
        """The history with one more calibration, which is now current. number: the lowest that it may get."""
        entry = Entry(
            number=max([number, 1, *(entry.number + 1 for entry in self.entries)]),
            id=calibration.id,
            created=calibration.created,
            source=source,
            fingerprint=fingerprint,
            kind=calibration.kind,
            normals=len(calibration.scores),
            groups=calibration.groups,
            rate=calibration.rate,
            interval=calibration.interval,
            threshold=calibration.threshold,
            guarantee=calibration.explanation,
            has_mask=calibration.mask is not None,
        )
        return replace(self, entries=(*self.entries, entry)).use(entry.number)

    def undo(self) -> History:
        """The history before the last `add` or `use`, with the same entries; CalibrationError if there is none."""
        if not self.earlier:
            state = "the bundle is not calibrated" if self.current is None else f"none applied before {self.current}"
            others = [str(entry.number) for entry in self.entries if entry.number != self.current]
            advice = f"; --use {' or --use '.join(others)} returns to another one" if others else ""
            raise CalibrationError(f"nothing to undo: {state}{advice}")
        return replace(self, current=self.earlier[-1], earlier=self.earlier[:-1])

    def use(self, number: int) -> History:
        """The history with the calibration of this number as current; CalibrationError if there is none."""
        self.entry(number)
        earlier = self.earlier if self.current in (None, number) else (*self.earlier, self.current)
        return replace(self, current=number, earlier=earlier)

    def facts(self) -> dict[str, str]:
        """Name and summary of each calibration, for a report; empty with fewer than two."""
        return {
            f"calibration {entry.number}{' (current)' if entry.number == self.current else ''}": (
                f"{entry.created}, from {entry.source}: threshold {score_text(entry.threshold)}, {entry.guarantee}"
            )
            for entry in self.entries
            if len(self.entries) > 1
        }

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        values: dict[str, object] = _adapter().dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: Any) -> History:
        """The history that `to_json` wrote; CalibrationError if it is damaged."""
        if not isinstance(values, dict) or set(values) | {"earlier"} != {"entries", "current", "earlier"}:
            raise CalibrationError("damaged list of calibrations (expected the keys entries and current)")
        try:
            history = _adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CalibrationError(f"damaged list of calibrations ({where}: {first['msg']})") from None
        for number in filter(None, [history.current, *history.earlier]):
            history.entry(number)
        return history


def _adapter() -> TypeAdapter[History]:
    return TypeAdapter(History)


def worse(before: Entry, now: Entry) -> list[str]:
    """What is worse about the guarantee of `now`, a phrase each; empty: nothing."""
    reasons = []
    if now.rate.per != before.rate.per:
        reasons.append(f"another kind of rate: {now.rate}, before {before.rate}")
    elif now.rate.value > before.rate.value * (1 + 1e-9):
        reasons.append(f"a higher rate: {now.rate}, before {before.rate}")
    if now.normals < before.normals:
        reasons.append(f"fewer normal scores: {now.normals:,}, before {before.normals:,}")
    elif not reasons and np.subtract(*now.interval[::-1]) > np.subtract(*before.interval[::-1]) * (1 + 1e-9):
        reasons.append(f"a wider confidence interval: {_interval(now)}, before {_interval(before)}")
    if now.groups < before.groups:
        reasons.append(f"fewer groups of data: {now.groups}, before {before.groups}")
    if before.kind == "held_out" and _data(now) != _data(before):
        change = "has changed" if now.source == before.source else f"before {before.source}"
        reasons.append(f"other data: {now.source}, {change}")
    if before.has_mask and not now.has_mask:
        reasons.append("no privacy mask, before with one")
    return reasons


def _data(entry: Entry) -> str:
    return entry.fingerprint or entry.source


def _interval(entry: Entry) -> str:
    low, high = entry.interval
    if entry.rate.is_share:
        return f"{low * 100:.2g}-{high * 100:.2g} %"
    return f"{low:.2g}-{high:.2g} per {entry.rate.per}"


def side_by_side(before: Entry | None, now: Entry) -> list[tuple[str, str, str]]:
    """Rows (name, before, now) of two calibrations; `-` without one before."""
    old = ("-",) * len(_cells(now)) if before is None else _cells(before)
    return list(zip(_NAMES, old, _cells(now), strict=True))


_NAMES = ("calibration", "threshold", "false-alarm rate", "95 % CI", "normal scores", "source", "created")


def _cells(entry: Entry) -> tuple[str, ...]:
    rate = f"{entry.rate.value * 100:.3g} %" if entry.rate.is_share else str(entry.rate)
    return (
        str(entry.number), score_text(entry.threshold), rate, _interval(entry),
        f"{entry.normals:,}", entry.source, entry.created,
    )  # fmt: skip
