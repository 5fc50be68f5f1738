"""Servers on loopback that cameras are tested against: RTSP as a process of its own, HTTP streams in a thread."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

BOUNDARY = "frame"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class RtspServer:
    """Plays the videos of a folder as rtsp://127.0.0.1:PORT/NAME; may be killed, stalled and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._control = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, name: str, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("rtsp-server")
        ports = ["-p", str(self.port), "-cp", str(self._control)]
        self._process = subprocess.Popen(
            [str(program), "-d", str(self.folder), "-H", "127.0.0.1", *ports],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.05)
        raise TimeoutError("the RTSP server did not come up")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """Let it hang, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


class HttpStream:
    """Sends whatever `parts()` gives, to each who asks, then ends or hangs; a context manager."""

    def __init__(self, kind: str, parts: Callable[[], Iterable[bytes]], *, hangs: bool = False) -> None:
        stopped = self._stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                with contextlib.suppress(OSError):  # nobody listens any more
                    for part in parts():
                        self.wfile.write(part)
                        if stopped.is_set():
                            return
                if hangs:
                    stopped.wait()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}/live?token=abc"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()


def mjpeg(images: Iterable[np.ndarray], *, every_s: float) -> Iterator[bytes]:
    """Pictures as cameras send them with multipart/x-mixed-replace."""
    for image in images:
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=95)
            jpeg = file.getvalue()
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + b"\r\n"
        time.sleep(every_s)


def paced(content: bytes, *, pieces: int, every_s: float) -> Iterator[bytes]:
    """A file in pieces, as a live encoder sends it."""
    step = -(-len(content) // pieces)
    for start in range(0, len(content), step):
        yield content[start : start + step]
        time.sleep(every_s)
