"""Events and servers for the tests of sinks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from offnormal.sinks.base import Message
from offnormal.types import Event

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(number=0, **given) -> Event:
    """A closed event."""
    start = START + timedelta(minutes=number)
    made = Event(
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
    return replace(made, **given)


def message(number=0, folder=None, **given) -> Message:
    found = event(number, **given)
    return Message("closed" if found.state == "closed" else "opened", found, folder)


class Hook(ThreadingHTTPServer):
    """Keeps what is posted to it; `answer` says how it answers now: a number, "hang" or "close"."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port=0):
        self.answer, self.headers_sent = 200, {}
        self.posts, self.attempts = [], 0
        self.released = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.attempts += 1
        if server.answer == "hang":
            server.released.wait(20)
        if not isinstance(server.answer, int):
            self.close_connection = True
            return
        if server.answer < 300:
            server.posts.append((dict(self.headers), body))
        self.send_response(server.answer)
        for name, value in server.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def hook(port=0):
    """A server that runs while the block does."""
    server = Hook(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
