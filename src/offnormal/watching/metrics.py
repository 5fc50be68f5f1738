"""Metrics of a program that watches, served for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.registry import Collector

from offnormal.errors import ConfigError
from offnormal.events.event import software
from offnormal.sinks.dispatcher import DeliveryStatus
from offnormal.sources.camera import CameraStatus, State
from offnormal.watching.camera import Histogram, WatchedCamera
from offnormal.watching.pipeline import WatchPipeline

_Rows = Iterable[tuple[Mapping[str, str], float]]
_COUNTERS: tuple[tuple[str, str, Callable[[CameraStatus, WatchedCamera], float]], ...] = (
    ("reconnects", "Further attempts to connect.", lambda status, _: max(0, status.attempts - 1)),
    ("gaps", "Breaks between two frames.", lambda status, _: status.gaps),
    ("frames_decoded", "Frames that the source gave.", lambda status, _: status.decoded),
    ("frames_scored", "Frames with a score.", lambda _, camera: camera.counted.scored),
    ("frames_unscored", "Frames that no clip describes.", lambda _, camera: camera.counted.unscored),
    ("inferences", "Frames or clips computed.", lambda _, camera: camera.counted.inferred),
    ("inference_seconds", "Time spent on them.", lambda _, camera: camera.counted.inference_s),
)
_DELIVERIES: tuple[tuple[str, str, str, Callable[[DeliveryStatus], float]], ...] = (
    ("deliveries", "counter", "Messages that a sink has taken.", lambda status: status.delivered),
    ("delivery_failures", "counter", "Attempts that failed.", lambda status: status.failures),
    ("deliveries_waiting", "gauge", "Messages still to be delivered.", lambda status: status.waiting),
    ("deliveries_refused", "gauge", "Messages that a sink will never take.", lambda status: status.refused),
    ("deliveries_dropped", "gauge", "Messages that gave way to newer ones.", lambda status: status.dropped),
)


@contextmanager
def serve_metrics(where: str, pipeline: WatchPipeline) -> Iterator[str]:
    """Serve the metrics while the block lasts, on this machine alone unless a host is named; yields the address.

    where: PORT or HOST:PORT. Raises ConfigError where nobody may listen there.
    """
    host, _, port = where.rpartition(":")
    registry = CollectorRegistry()
    registry.register(_WatchCollector(pipeline))
    try:
        server, thread = start_http_server(int(port), host or "127.0.0.1", registry)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--metrics {where}: nobody can listen there ({error}); choose another port") from None
    try:
        yield f"http://{server.server_address[0]!s}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _WatchCollector(Collector):
    """Reads what a pipeline has counted whenever Prometheus asks."""

    def __init__(self, pipeline: WatchPipeline) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterator[Metric]:
        """Every metric with its help, type, and values."""
        yield _metric("info", "gauge", "Version of the program.", [({"version": software()}, 1)])
        memory = _resident_bytes()
        if memory is not None:
            yield _metric("memory_bytes", "gauge", "Memory that the program holds.", [({}, memory)])
        sources = self._pipeline.sources
        yield from _camera_metrics([(sources[camera.name].status, camera) for camera in self._pipeline.cameras])
        sinks = [({"sink": status.sink}, status) for status in self._pipeline.dispatcher.statuses()]
        for name, kind, text, number in _DELIVERIES:
            yield _metric(name, kind, text, [(labels, number(status)) for labels, status in sinks])


def _camera_metrics(cameras: Sequence[tuple[CameraStatus, WatchedCamera]]) -> Iterator[Metric]:
    rows = [({"camera": status.name}, status, camera) for status, camera in cameras]
    states = [({**by, "state": state}, one.state == state) for by, one, _ in rows for state in get_args(State)]
    yield _metric("camera_state", "gauge", "1 for the state that the source is in.", states)
    for name, text, number in _COUNTERS:
        yield _metric(name, "counter", text, [(by, number(status, camera)) for by, status, camera in rows])
    dropped = [
        ({**by, "where": where}, number)
        for by, status, camera in rows
        for where, number in (("source", status.dropped), ("scoring", camera.counted.dropped))
    ]
    yield _metric("frames_dropped", "counter", "Frames and clips that gave way to newer ones.", dropped)
    ages = [(by, status.frame_age_s) for by, status, _ in rows if status.frame_age_s is not None]
    yield _metric("frame_age_seconds", "gauge", "Since the last frame.", ages)
    yield _histogram(
        "lag_seconds", "From a frame's arrival to its verdict.", [(by, one.counted.lag) for by, _, one in rows]
    )
    scores = [(by, one.counted.last_score) for by, _, one in rows if one.counted.last_score is not None]
    yield _metric("score", "gauge", "The last one.", scores)
    thresholds = [(by, one.thresholds.threshold) for by, _, one in rows]
    yield _metric("threshold", "gauge", "Above it an event opens.", thresholds)
    yield _metric("event_open", "gauge", "Whether an event is on.", [(by, one.events.is_open) for by, _, one in rows])
    events = [
        ({**by, "kind": kind, "state": state}, number)
        for by, _, one in rows
        for (kind, state), number in sorted(one.counted.events.copy().items())
    ]
    yield _metric("events", "counter", "Events opened and closed, those of the camera itself, too.", events)


def _metric(name: str, kind: str, text: str, rows: _Rows) -> Metric:
    metric = Metric(f"offnormal_{name}", text, kind)
    for labels, number in rows:
        metric.add_sample(f"{metric.name}_total" if kind == "counter" else metric.name, dict(labels), float(number))
    return metric


def _histogram(name: str, text: str, rows: Iterable[tuple[Mapping[str, str], Histogram]]) -> Metric:
    metric = Metric(f"offnormal_{name}", text, "histogram")
    for labels, histogram in rows:
        below = list(accumulate(histogram.counts))
        for bound, number in zip((*map(str, histogram.bounds), "+Inf"), below, strict=True):
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, number)
        metric.add_sample(f"{metric.name}_count", dict(labels), below[-1])
        metric.add_sample(f"{metric.name}_sum", dict(labels), histogram.total)
    return metric


def _resident_bytes() -> int | None:
    """Bytes in memory now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
