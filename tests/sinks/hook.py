"""A server for the tests of sinks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook(ThreadingHTTPServer):
    """Records posted messages; `answer` sets the response: a status code, "hang", or "close"."""

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
    """A server that runs inside the block."""
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
