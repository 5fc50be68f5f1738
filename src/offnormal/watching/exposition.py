"""Metrics of a program that watches, as Prometheus reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import get_args

from offnormal.errors import ConfigError
from offnormal.events.maker import software
from offnormal.sinks.dispatcher import DeliveryStatus
from offnormal.sources.camera import CameraStatus
from offnormal.sources.connection import State
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.statistics import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Row = tuple[Mapping[str, str], float]


def exposition(
    cameras: Sequence[tuple[CameraStatus, WatchedCamera]], sinks: Sequence[DeliveryStatus], memory_bytes: int | None
) -> str:
    """The page: every metric with its help, type and values."""
    status = [({"camera": one.name}, one, camera) for one, camera in cameras]
    sunk = [({"sink": one.sink}, one) for one in sinks]
    page = _Page()
    page.add("info", "gauge", "Version of the program.", [({"version": software()}, 1)])
    if memory_bytes is not None:
        page.add("memory_bytes", "gauge", "Memory that the program holds.", [({}, memory_bytes)])
    states = [({**by, "state": state}, one.state == state) for by, one, _ in status for state in get_args(State)]
    page.add("camera_state", "gauge", "1 for the state that the source is in.", states)
    counters: tuple[tuple[str, str, Callable[[CameraStatus, WatchedCamera], float]], ...] = (
        ("reconnects", "Further attempts to connect.", lambda one, _: max(0, one.attempts - 1)),
        ("gaps", "Breaks between two frames.", lambda one, _: one.gaps),
        ("frames_decoded", "Frames that the source gave.", lambda one, _: one.decoded),
        ("frames_scored", "Frames with a score.", lambda _, camera: camera.counted.scored),
        ("frames_unscored", "Frames that no clip speaks of.", lambda _, camera: camera.counted.unscored),
        ("inferences", "Frames or clips computed.", lambda _, camera: camera.counted.inferred),
        ("inference_seconds", "Time spent on them.", lambda _, camera: camera.counted.inference_s),
    )
    for name, text, number in counters:
        page.add(f"{name}_total", "counter", text, [(by, number(one, camera)) for by, one, camera in status])
    dropped = [
        ({**by, "where": where}, number)
        for by, one, camera in status
        for where, number in (("source", one.dropped), ("scoring", camera.counted.dropped))
    ]
    page.add("frames_dropped_total", "counter", "Frames and clips that gave way to newer ones.", dropped)
    ages = [(by, one.frame_age_s) for by, one, _ in status if one.frame_age_s is not None]
    page.add("frame_age_seconds", "gauge", "Since the last frame.", ages)
    page.histogram(
        "lag_seconds",
        "From a frame's arrival to its verdict.",
        [(by, camera.counted.lag) for by, _, camera in status],
    )
    scores = [(by, camera.counted.last_score) for by, _, camera in status if camera.counted.last_score is not None]
    page.add("score", "gauge", "The last one.", scores)
    thresholds = [(by, camera.thresholds.threshold) for by, _, camera in status]
    page.add("threshold", "gauge", "Above it an event opens.", thresholds)
    page.add("event_open", "gauge", "Whether an event is on.", [(by, one.events.is_open) for by, _, one in status])
    events = [
        ({**by, "kind": kind, "state": state}, number)
        for by, _, camera in status
        for (kind, state), number in sorted(camera.counted.events.copy().items())
    ]
    page.add("events_total", "counter", "Events opened and closed, those of the camera itself, too.", events)
    deliveries: tuple[tuple[str, str, str, Callable[[DeliveryStatus], float]], ...] = (
        ("deliveries_total", "counter", "Messages that a sink has taken.", lambda one: one.delivered),
        ("delivery_failures_total", "counter", "Attempts that failed.", lambda one: one.failures),
        ("deliveries_waiting", "gauge", "Messages still to be delivered.", lambda one: one.waiting),
        ("deliveries_refused", "gauge", "Messages that a sink will never take.", lambda one: one.refused),
        ("deliveries_dropped", "gauge", "Messages that gave way to newer ones.", lambda one: one.dropped),
    )
    for name, kind, text, sink in deliveries:
        page.add(name, kind, text, [(by, sink(one)) for by, one in sunk])
    return page.text()


class _Page:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, text: str, rows: Iterable[_Row]) -> None:
        self._lines += [f"# HELP offnormal_{name} {text}", f"# TYPE offnormal_{name} {kind}"]
        self._lines += [_line(name, labels, value) for labels, value in rows]

    def histogram(self, name: str, text: str, rows: Iterable[tuple[Mapping[str, str], Histogram]]) -> None:
        self.add(name, "histogram", text, [])
        for labels, found in rows:
            below = list(accumulate(found.counts))
            for bound, number in zip((*map(str, found.bounds), "+Inf"), below, strict=True):
                self._lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, number))
            self._lines += [_line(f"{name}_sum", labels, found.total), _line(f"{name}_count", labels, below[-1])]

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"offnormal_{name}{{{pairs}}} {float(value):.10g}" if pairs else f"offnormal_{name} {float(value):.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class MetricsServer:
    """Serves the page at http://HOST:PORT/metrics, on this machine alone unless a host is named; a context manager.

    where: PORT or HOST:PORT. Raises ConfigError where nobody may listen there.
    """

    def __init__(self, where: str, page: Callable[[], str]) -> None:
        host, _, port = where.rpartition(":")

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404, "the page is /metrics")
                    return
                body = page().encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--metrics {where}: nobody can listen there ({error}); choose another port") from None
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self._server.server_address[0]!s}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
