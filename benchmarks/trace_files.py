"""How many source files a reader opens to follow one image to its verdict, or one camera frame to a webhook.

    python benchmarks/trace_files.py [--list]

Fits padim on a small generated set, then traces `predict BUNDLE IMAGE` and `watch --config FILE` of a recording with a
webhook in this process. A file counts when one of its functions is called; imports and class bodies do not.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import inspect
import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import av
import numpy as np
from PIL import Image

import offnormal
from offnormal.cli.main import main

ROOT = Path(offnormal.__file__).parent


@contextlib.contextmanager
def traced() -> Iterator[set[Path]]:
    """The files of the package in which functions are called, in every thread."""
    codes: set[CodeType] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            codes.add(frame.f_code)

    files: set[Path] = set()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        for code in list(codes):  # threads may still end; bodies of modules and classes are not optimized code
            path = Path(code.co_filename)
            if code.co_flags & inspect.CO_OPTIMIZED and path.is_relative_to(ROOT):
                files.add(path.relative_to(ROOT))


def run(*words: str) -> None:
    """One call of the program, its output swallowed."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(list(words))
        except SystemExit as stop:
            if stop.code not in (0, None):
                raise RuntimeError(f"offnormal {' '.join(words)}: {errors.getvalue()}") from stop


def images(folder: Path, number: int, seed: int) -> None:
    """Gray noise around a bright square."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(number):
        pixels = rng.normal(90, 12, (96, 96, 3))
        pixels[30:60, 30:60] += 80
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index:03}.png")


def video(path: Path, seconds: int = 12, fps: int = 5) -> None:
    """The same as footage, with a white square from second 6 to 9."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=fps)
        stream.width = stream.height = 96
        for index in range(seconds * fps):
            pixels = rng.normal(90, 12, (96, 96, 3))
            pixels[30:60, 30:60] += 80
            if 6 <= index / fps < 9:
                pixels[40:80, 40:80] = 255
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Takes every alert."""

    accepted = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        Endpoint.accepted += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def of_image(work: Path) -> set[Path]:
    with traced() as files:
        run("predict", str(work / "bundle"), str(work / "normal" / "000.png"))
    return files


def of_camera(work: Path) -> set[Path]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = work / "watch.yaml"
    config.write_text(
        f"bundle: {work / 'bundle'}\nout: {work / 'watching'}\n"
        f"cameras:\n  - source: {work / 'day.mp4'}\n    name: yard\n    realtime: false\n"
        f"sinks:\n  - webhook:http://127.0.0.1:{server.server_address[1]}/\n"
    )
    with traced() as files:
        run("watch", "--config", str(config))
    server.shutdown()
    if not Endpoint.accepted:
        raise RuntimeError("no alert arrived: what was traced is not the way to the webhook")
    return files


def measure(show: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images(work / "normal", 24, 0)
        video(work / "day.mp4")
        os.chdir(work)
        run("fit", "padim", "--normal", "normal", "--size", "96", "--out", str(work / "runs"))
        (bundle,) = (work / "runs").glob("*/bundle")
        (work / "bundle").symlink_to(bundle)
        ways: list[tuple[str, Callable[[Path], set[Path]]]] = [
            ("predict image to verdict", of_image),
            ("camera to webhook", of_camera),
        ]
        for name, trace in ways:
            files = sorted(trace(work))
            print(f"{name}: {len(files)} files")
            if show:
                print("".join(f"  {path.as_posix()}\n" for path in files), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the files")
    measure(parser.parse_args().list)
