"""Alerts while the endpoint is away for half of them and the program is killed once: what arrives, and what it costs.

    python benchmarks/alerts.py [--alerts 1000] [--every 0.02]

A program tells so many events to a signed webhook and a JSON Lines file. For the second quarter nobody listens, then
the endpoint takes connections and never answers, then it answers 500 until three quarters are told. In the middle the
program is killed (SIGKILL) and started anew. Seconds of a call are those that the watching would wait.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.types import Event

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, port: int, arrived: list[int]) -> None:
        self.answer: int | str = 200
        self.arrived = arrived
        super().__init__(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answer == "hang":
            time.sleep(30)
            return
        if self.server.answer == 200:
            self.server.arrived.append(int(json.loads(body)["event"]["detail"]))
        self.send_response(int(self.server.answer))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def tell(folder: Path, port: int, first: int, count: int, every_s: float) -> None:
    """The program that is killed: prints the number of each event and the seconds that telling it took."""
    webhook = {
        "kind": "webhook",
        "url": f"http://127.0.0.1:{port}/hook",
        "secret": "key of the benchmark",
        "timeout_s": 1,
    }
    sinks = open_sinks([webhook, f"jsonl:{folder / 'events.jsonl'}"])
    with Dispatcher(sinks, folder / "spool.db", first_s=0.1, cap_s=1.0) as dispatcher:
        for number in range(first, count):
            start = STARTED + timedelta(minutes=number)
            event = Event(id=f"{number:06}", camera="c", state="closed", start=start, end=start, detail=str(number))
            before = time.perf_counter()
            dispatcher.send(event)
            print(number, time.perf_counter() - before, flush=True)
            time.sleep(every_s)
        dispatcher.drain(120)


def started(folder: Path, port: int, first: int, count: int, every_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--tell", str(folder), str(port), str(first), str(count), str(every_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def report(count: int, arrived: list[int], file: Path, took: dict[str, list[float]]) -> None:
    lines = [json.loads(line)["event"]["detail"] for line in file.read_text().splitlines()]
    for name, numbers in (("webhook", arrived), ("jsonl", [int(line) for line in lines])):
        firsts = list(dict.fromkeys(numbers))
        twice = sum(n > 1 for n in Counter(numbers).values())
        print(f"{name}: {len(firsts)} of {count} arrived, twice {twice}, in order {firsts == sorted(firsts)}")
    print("| endpoint | calls | p50 ms | p99 ms | longest ms |\n|---|---|---|---|---|")
    for name, seconds_each in took.items():
        p50, p99 = np.percentile(seconds_each, (50, 99)) * 1e3
        print(f"| {name} | {len(seconds_each)} | {p50:.2f} | {p99:.2f} | {max(seconds_each) * 1e3:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=1000)
    parser.add_argument("--every", type=float, default=0.02, help="seconds between two")
    parser.add_argument("--tell", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tell:
        folder, port, first, count, every = arguments.tell
        tell(Path(folder), int(port), int(first), int(count), float(every))
        return
    count, folder = arguments.alerts, Path(tempfile.mkdtemp(prefix="offnormal-alerts-"))
    arrived: list[int] = []
    endpoint: Endpoint | None = Endpoint(0, arrived)
    port = endpoint.server_address[1]
    program = started(folder, port, 0, count, arguments.every)
    took: dict[str, list[float]] = {"up": [], "down": []}
    number, killed_at, returned = -1, None, 0.0
    while number < count - 1:
        line = program.stdout.readline() if program.stdout else ""
        if not line:  # it was killed: what it did not say it told may be told again
            program = started(folder, port, number + 1, count, arguments.every)
            continue
        number, seconds = int(line.split()[0]), float(line.split()[1])
        took["up" if endpoint is not None and endpoint.answer == 200 else "down"].append(seconds)
        if number == count // 4 and endpoint is not None:
            endpoint.stop()
            endpoint = None
        elif number == count * 5 // 12:
            endpoint = Endpoint(port, arrived)
            endpoint.answer = "hang"
        elif number == count * 7 // 12 and endpoint is not None:
            endpoint.answer = 500
        elif number == count * 3 // 4 and endpoint is not None:
            endpoint.answer = 200
            returned = time.monotonic()
        if number == count // 2 and killed_at is None:
            killed_at = number
            program.send_signal(signal.SIGKILL)
            program.wait()
    assert endpoint is not None
    while len(set(arrived)) < count and time.monotonic() < returned + 120:
        time.sleep(0.01)
    all_there_s = time.monotonic() - returned
    program.wait(60)
    endpoint.stop()
    print(f"told {count}, killed after {killed_at}; endpoint away from {count // 4} to {count * 3 // 4}")
    print(f"the last one {all_there_s:.1f} s after the endpoint's return, {count // 4} of them told after it")
    report(count, arrived, folder / "events.jsonl", took)


if __name__ == "__main__":
    main()
