"""How many cameras of 320 x 180 at 5 frames a second one machine watches: lag, drops, processor and memory.

    python benchmarks/watch_cameras.py --work DIR [--cameras 2 4 8 12 16] [--seconds 60] [--rtsp] [--threads 2]
    python benchmarks/watch_cameras.py --work DIR --cameras 8 --seconds 1200      # memory over 20 minutes

PaDiM on EfficientNet-Lite0 as `fit` makes it, learned from a drawn yard. Each camera is a film of its own, played in
real time from a file, or with --rtsp by servers on loopback with six cameras each. The lag is from a frame's arrival
to its verdict, read off the program's own metrics, and counts after a warm-up of ten seconds; its 95th percentile is
interpolated within the histogram's bucket. Cameras are sustained where it is below a second and nothing is dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS, SIZE = 5, (180, 320)
WARM_UP_S, START_S, SAMPLE_S = 10.0, 120.0, 15.0
CAMERAS_A_SERVER = 6
ROW = re.compile(r"^offnormal_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
BIN = Path(sys.executable).parent


def write_film(path: Path, seconds: float, seed: int) -> None:
    """A still ground with noise and two discs that wander."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ground = 90 + 30 * np.sin(x / 17) + 20 * np.cos(y / 23)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "26"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size = 2 * FPS
        noise = rng.normal(0, 3, (8, *SIZE))
        for i in range(round(seconds * FPS)):
            picture = ground + noise[i % 8]
            for speed, row, light in ((40, 60, 200), (65, 130, 30)):
                picture[np.hypot(y - row, x - 160 - 130 * np.sin(i / speed + seed)) < 12] = light
            image = np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(image).reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


def fitted(work: Path) -> Path:
    if not (work / "run").exists():
        (work / "normal").mkdir(parents=True)
        write_film(work / "normal" / "a.mp4", 60, 0)
        subprocess.run(
            [str(BIN / "offnormal"), "fit", "padim", "--normal", str(work / "normal"), "--out", str(work / "runs")],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        next((work / "runs").iterdir()).rename(work / "run")
    return work / "run"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def served(folder: Path, names: list[str]) -> tuple[list[subprocess.Popen[bytes]], list[str]]:
    """RTSP servers for the films of a folder, and the address of each."""
    servers, addresses = [], []
    for start in range(0, len(names), CAMERAS_A_SERVER):
        port, control = free_port(), free_port()
        command = [str(BIN / "rtsp-server"), "-d", str(folder), "-H", "127.0.0.1", "-p", str(port), "-cp", str(control)]
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        addresses += [f"rtsp://127.0.0.1:{port}/{name}" for name in names[start : start + CAMERAS_A_SERVER]]
    time.sleep(3)
    return servers, addresses


def scraped(port: int) -> dict[str, float]:
    """Every metric summed over the cameras; buckets by their bounds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        page = answer.read().decode()
    values: dict[str, float] = {}
    for name, labels, value in ROW.findall(page):
        bound = re.search(r'le="([^"]+)"', labels or "")
        key = f"{name} {bound[1]}" if bound else name
        values[key] = values.get(key, 0.0) + float(value)
    return values


def percentile(before: dict[str, float], after: dict[str, float], share: float) -> float:
    """Seconds, linear within the bucket."""
    below = [
        (float(key.split()[1]), number - before.get(key, 0.0))
        for key, number in after.items()
        if key.startswith("lag_seconds_bucket ")
    ]
    below.sort()
    wanted, last_bound, last = share * below[-1][1], 0.0, 0.0
    for bound, number in below:
        if number >= wanted:
            inside = (wanted - last) / max(number - last, 1e-9)
            return bound if bound == float("inf") else last_bound + inside * (bound - last_bound)
        last_bound, last = bound, number
    return float("inf")


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(work: Path, number: int, seconds: float, *, rtsp: bool, threads: int) -> str:
    """One row of the table."""
    films = work / f"films-{round(seconds)}"
    films.mkdir(exist_ok=True)
    names = [f"{i:02}.mp4" for i in range(number)]
    for i, name in enumerate(names):
        if not (films / name).exists():
            write_film(films / name, seconds + WARM_UP_S + START_S, i)
    servers, sources = served(films, names) if rtsp else ([], [str(films / name) for name in names])
    port = free_port()
    config = {
        "bundle": str(fitted(work)), "threshold": 1e9, "realtime": not rtsp, "metrics": str(port), "threads": threads,
        "out": str(work / "watching"), "batch_size": 16,
        "cameras": [{"name": f"c{i:02}", "source": source} for i, source in enumerate(sources)],
    }  # fmt: skip
    (work / "cameras.yaml").write_text(json.dumps(config))
    program = subprocess.Popen([str(BIN / "offnormal"), "watch", "--config", str(work / "cameras.yaml")])
    try:
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            try:
                if scraped(port).get("frames_scored_total", 0) > number:
                    break
            except OSError:
                time.sleep(0.2)
        time.sleep(WARM_UP_S)
        before, start_s, start_cpu = scraped(port), time.monotonic(), processor_s(program.pid)
        memory = [before["memory_bytes"]]
        while time.monotonic() - start_s < seconds:
            time.sleep(min(SAMPLE_S, seconds))
            memory.append(scraped(port)["memory_bytes"])
        after, took_s = scraped(port), time.monotonic() - start_s
        cores = (processor_s(program.pid) - start_cpu) / took_s
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait()
        for server in servers:
            server.kill()
            server.wait()
    change = {key: after[key] - before.get(key, 0.0) for key in after}
    p50, p95 = (percentile(before, after, share) for share in (0.5, 0.95))
    scored, inferred = change["frames_scored_total"], max(1.0, change["inferences_total"])
    return (
        f"| {number} | {scored / took_s:.1f} | {p50:.2f} | {p95:.2f} | {change['frames_dropped_total']:.0f} | "
        f"{change['frames_unscored_total']:.0f} | {1e3 * change['inference_seconds_total'] / inferred:.1f} | "
        f"{cores:.2f} | {memory[-1] / 1e6:.0f} | {(memory[-1] / memory[len(memory) // 10] - 1):+.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for films and bundle; kept")
    parser.add_argument("--cameras", type=int, nargs="+", default=[2, 4, 8, 12, 16])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rtsp", action="store_true", help="by RTSP in place of files in real time")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| cameras | frames/s | lag p50 s | p95 s | dropped | unscored | ms a frame | cores | MB | grown |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for number in args.cameras:
        print(watched(args.work, number, args.seconds, rtsp=args.rtsp, threads=args.threads), flush=True)


if __name__ == "__main__":
    main()
