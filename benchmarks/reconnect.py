"""A camera whose server is killed, stalled (SIGSTOP) and kept away in turn: seconds until it is online again.

    python benchmarks/reconnect.py --restarts 20

Needs the development tools (the RTSP server `rtsp-server`). Each time is counted from the server's return to the first
frame; the limit is the longest wait between two attempts and 3 s. Exits with 1 when one was exceeded, a frame came
twice or out of order, or there was not exactly one gap a restart.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import cycle, pairwise
from pathlib import Path

import av
import numpy as np

from offnormal.sources.camera import Camera
from offnormal.sources.live_reader import CameraOptions, Patience
from offnormal.types import Frame, Gap

CAP_S, SLACK_S = 1.0, 3.0
FPS, SECONDS, SIZE = 25, 120, (180, 320)
AWAY_S = 2.0  # how long the server is gone, or hangs after the stall was noticed


def write_film(path: Path) -> None:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size = FPS
        ground = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        for number in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(np.roll(ground, number, 1))
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            film.mux(stream.encode(frame.reformat(format="yuv420p")))
        film.mux(stream.encode())


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [_free_port(), _free_port()]

    def start(self) -> None:
        program = Path(sys.executable).with_name("rtsp-server")
        port, control = map(str, self.ports)
        self.process = subprocess.Popen(
            [str(program), "-d", str(self.folder), "-H", "127.0.0.1", "-p", port, "-cp", control],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.ports[0]), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(camera: Camera, kind: type, limit_s: float, frames: list[Frame]) -> Frame | Gap:
    """Take what comes until a frame, or a gap, does."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        item = camera.take(0.05)
        if isinstance(item, Frame):
            frames.append(item)
        if isinstance(item, kind):
            return item
    raise SystemExit(f"no {kind.__name__} within {limit_s} s: {camera.status}")


def idle(camera: Camera, seconds: float, frames: list[Frame]) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        item = camera.take(0.05)
        if isinstance(item, Gap):
            raise SystemExit(f"a gap too many: {item}")
        if item is not None:
            frames.append(item)


def trouble(kind: str, camera: Camera, server: Server, frames: list[Frame]) -> None:
    """Bring it about, and wait until the camera has noticed and, but for a stall, been refused for a while."""
    if kind == "stalled":
        server.process.send_signal(signal.SIGSTOP)
    else:
        server.kill()
    until(camera, Gap, 30, frames)
    if kind == "stalled":
        idle(camera, AWAY_S, frames)
        server.kill()
    elif kind == "refused":
        idle(camera, 3 * AWAY_S, frames)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=20)
    restarts = parser.parse_args().restarts
    with tempfile.TemporaryDirectory() as folder:
        write_film(Path(folder) / "film.mp4")
        server, frames, times = Server(Path(folder)), [], []
        server.start()
        patience = Patience(open_s=5, stall_s=2, retry_s=0.25, cap_s=CAP_S)
        address = f"rtsp://127.0.0.1:{server.ports[0]}/film.mp4"
        with Camera("film", address, CameraOptions(patience=patience)) as camera:
            until(camera, Frame, 30, frames)
            print("| restart | how | attempts | online again after (s) |\n|---|---|---|---|")
            for number, kind in zip(range(1, restarts + 1), cycle(("killed", "stalled", "refused")), strict=False):
                idle(camera, 1.0, frames)
                before = camera.status.attempts
                trouble(kind, camera, server, frames)
                server.start()
                start_s = time.monotonic()
                until(camera, Frame, 60, frames)
                times.append(time.monotonic() - start_s)
                print(f"| {number} | {kind} | {camera.status.attempts - before} | {times[-1]:.2f} |", flush=True)
            status = camera.status
        server.kill()
    order = [frame.index for frame in frames]
    steady = all(a < b for a, b in pairwise(order))
    print(f"\nslowest {max(times):.2f} s, limit {CAP_S + SLACK_S:g} s; median {np.median(times):.2f} s")
    print(f"{len(frames)} frames, each once and in order: {steady}; {status.gaps} gaps; {status.dropped} dropped")
    return int(max(times) > CAP_S + SLACK_S or not steady or status.gaps != restarts)


if __name__ == "__main__":
    sys.exit(main())
