"""Serve the metrics of `watch` to Prometheus."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)
_Rows = Iterable[tuple[Mapping[str, str], float]]
_COUNTERS: tuple[tuple[str, str, Callable[[CameraStatus, WatchedCamera], float]], ...] = (
    ("reconnects", "Attempts to reconnect.", lambda status, _: max(0, status.attempts - 1)),
    ("gaps", "Interruptions between two frames.", lambda status, _: status.gaps),
    ("frames_decoded", "Frames received from the source.", lambda status, _: status.decoded),
    ("frames_scored", "Frames with a score.", lambda _, camera: camera.counts.scored),
    ("frames_unscored", "Frames without a score.", lambda _, camera: camera.counts.unscored),
    ("inferences", "Frames or clips inferred.", lambda _, camera: camera.counts.inferred),
    ("inference_seconds", "Time spent on inference.", lambda _, camera: camera.counts.inference_s),
)
_DELIVERIES: tuple[tuple[str, str, str, Callable[[DeliveryStatus], float]], ...] = (
    ("deliveries", "counter", "Messages that a sink has accepted.", lambda status: status.delivered),
    ("delivery_failures", "counter", "Failed delivery attempts.", lambda status: status.failures),
    ("deliveries_waiting", "gauge", "Messages that wait for delivery.", lambda status: status.waiting),
    ("deliveries_refused", "gauge", "Messages that a sink refused for good.", lambda status: status.refused),
    ("deliveries_dropped", "gauge", "Messages dropped for newer ones.", lambda status: status.dropped),
)


@contextmanager
def serve_metrics(address: str, pipeline: WatchPipeline) -> Iterator[str]:
    """Serve the metrics inside the block, on localhost unless a host is named; yields the URL.

    address: PORT or HOST:PORT. Raises ConfigError if the address is not available.
    """
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(_WatchCollector(pipeline))
    try:
        server, thread = start_http_server(int(port), host or "127.0.0.1", registry)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--metrics {address}: address not available ({error}); choose another port") from None
    vars(server)["handle_error"] = _ignore_client
    try:
        yield f"http://{server.server_address[0]!s}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ignore_client(*_: object) -> None:
    """Replace the traceback that the server prints when a client hangs up."""
    log.debug("a client of the metrics failed", exc_info=True)


class _WatchCollector(Collector):
    """Reads the counts of a pipeline on each request of Prometheus."""

    def __init__(self, pipeline: WatchPipeline) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterator[Metric]:
        """Every metric with its help, type, and values."""
        yield _metric("info", "gauge", "Version of the program.", [({"version": software()}, 1)])
        memory = _resident_bytes()
        if memory is not None:
            yield _metric("memory_bytes", "gauge", "Memory in use by the program.", [({}, memory)])
        sources = self._pipeline.sources
        yield from _camera_metrics([(sources[camera.name].status, camera) for camera in self._pipeline.cameras])
        sinks = [({"sink": status.sink}, status) for status in self._pipeline.dispatcher.statuses()]
        for name, kind, text, number in _DELIVERIES:
            yield _metric(name, kind, text, [(labels, number(status)) for labels, status in sinks])


def _camera_metrics(cameras: Sequence[tuple[CameraStatus, WatchedCamera]]) -> Iterator[Metric]:
    rows = [({"camera": status.name}, status, camera) for status, camera in cameras]
    states = [
        ({**labels, "state": state}, status.state == state) for labels, status, _ in rows for state in get_args(State)
    ]
    yield _metric("camera_state", "gauge", "1 for the current state of the source.", states)
    for name, text, number in _COUNTERS:
        yield _metric(name, "counter", text, [(labels, number(status, camera)) for labels, status, camera in rows])
    dropped = [
        ({**labels, "stage": stage}, number)
        for labels, status, camera in rows
        for stage, number in (("source", status.dropped), ("scoring", camera.counts.dropped))
    ]
    yield _metric("frames_dropped", "counter", "Frames and clips discarded for newer ones.", dropped)
    ages = [(labels, status.frame_age_s) for labels, status, _ in rows if status.frame_age_s is not None]
    yield _metric("frame_age_seconds", "gauge", "Time since the last frame.", ages)
    yield _histogram(
        "lag_seconds",
        "Time from the arrival of a frame to its verdict.",
        [(labels, camera.counts.lag) for labels, _, camera in rows],
    )
    scores = [(labels, camera.counts.last_score) for labels, _, camera in rows if camera.counts.last_score is not None]
    yield _metric("score", "gauge", "Last score.", scores)
    thresholds = [(labels, camera.thresholds.threshold) for labels, _, camera in rows]
    yield _metric("threshold", "gauge", "Score above which an event opens.", thresholds)
    yield _metric(
        "event_open",
        "gauge",
        "1 while an event is open.",
        [(labels, camera.events.is_open) for labels, _, camera in rows],
    )
    events = [
        ({**labels, "kind": kind, "state": state}, number)
        for labels, _, camera in rows
        for (kind, state), number in sorted(camera.counts.events.copy().items())
    ]
    yield _metric("events", "counter", "Events opened and closed, including those of the camera itself.", events)


def _metric(name: str, kind: str, text: str, rows: _Rows) -> Metric:
    metric = Metric(f"offnormal_{name}", text, kind)
    for labels, number in rows:
        metric.add_sample(f"{metric.name}_total" if kind == "counter" else metric.name, dict(labels), float(number))
    return metric


def _histogram(name: str, text: str, rows: Iterable[tuple[Mapping[str, str], Histogram]]) -> Metric:
    metric = Metric(f"offnormal_{name}", text, "histogram")
    for labels, histogram in rows:
        cumulative = list(accumulate(histogram.counts))
        for bound, number in zip((*map(str, histogram.bounds), "+Inf"), cumulative, strict=True):
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, number)
        metric.add_sample(f"{metric.name}_count", dict(labels), cumulative[-1])
        metric.add_sample(f"{metric.name}_sum", dict(labels), histogram.total)
    return metric


def _resident_bytes() -> int | None:
    """Resident memory in bytes; None if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
