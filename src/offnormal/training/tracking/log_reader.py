"""Reads a run's log for trackers: values by step, rewinds, and summaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from offnormal.run import LogLine, parse_log_line
from offnormal.training.tracking.tracker import Point

_CHUNK = 1 << 20  # bytes per read
_SUMMARIES = {"trained": "training", "done": "fit", "evaluated": "evaluation"}  # event -> prefix of the names


@dataclass(frozen=True, slots=True)
class Rewind:
    """The run continues from a checkpoint; later steps are repeated."""

    step: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of the run as a whole."""

    values: dict[str, float | str]


def read_lines(log: Path, start: int) -> tuple[list[LogLine], int]:
    """Read about 1 MiB of complete lines from byte `start`; also return the offset after the last one."""
    with log.open("rb") as file:
        file.seek(start)
        data = file.read(_CHUNK)
        if len(data) == _CHUNK and b"\n" not in data:  # one very long line
            data += file.readline()
    data = data[: data.rfind(b"\n") + 1]
    return [values for line in data.splitlines() if (values := parse_log_line(line)) is not None], start + len(data)


def read_events(lines: list[LogLine], step: int) -> Iterator[Point | Rewind | Summary]:
    """Yield the values of log lines; step: of the last event before them that had one."""
    for line in lines:
        event = line.get("event")
        step = line["step"] if isinstance(line.get("step"), int) else step
        if event == "resumed":
            yield Rewind(step)
        elif event in _SUMMARIES:
            yield Summary(_summary_values(line, _SUMMARIES[event]))
        elif (values := _values(line)) and (time_s := _timestamp(line)) is not None:
            yield Point(step, time_s, values)


def last_step(lines: list[LogLine], step: int) -> int:
    """Return the step of the last line that has one, or `step`."""
    return next((line["step"] for line in reversed(lines) if isinstance(line.get("step"), int)), step)


def _values(line: LogLine) -> dict[str, float]:
    """Return the finite numbers of a step, validation, or epoch by name (others are null in the log)."""
    event = line.get("event")
    if event == "step":
        named = {
            f"train/{optimizer}/{name}": loss
            for optimizer, losses in line["losses"].items()
            for name, loss in losses.items()
        }
        named |= {f"lr/{optimizer}": rate for optimizer, rate in line["lr"].items()}
        named |= {f"gradient/{optimizer}": norm for optimizer, norm in line.get("gradient", {}).items()}
        named |= {"epoch": line.get("epoch"), "time/step_s": line.get("seconds")}
    elif event == "validation":
        named = {f"validation/{name}": loss for name, loss in line["losses"].items()}
    elif event == "epoch":
        named = {f"epochs/{name}": value for name, value in line.items() if name not in ("time", "event", "epoch")}
    else:
        return {}
    return {name: float(value) for name, value in named.items() if _is_number(value)}


def _summary_values(line: LogLine, prefix: str) -> dict[str, float | str]:
    values = {}
    for name, value in line.items():
        if name not in ("time", "event") and (isinstance(value, str) or _is_number(value)):
            values[f"{prefix}/{name}"] = value
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _timestamp(line: LogLine) -> float | None:
    try:
        return datetime.fromisoformat(line["time"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
