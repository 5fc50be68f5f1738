"""Section 5: what outlives a kill or a restart: checkpoints, the spool, memory of a folder, retention."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import inputs
from fitted import FEW, content_hash, fit, stored
from program import Program, files_below, internal

_LIMIT_S = 600  # seconds until something happens, on a loaded machine


def record(program: Program) -> dict[str, Any]:
    """An entry for each story."""
    root = program.folder("state")
    return {**_resumed(program, root), **_spooled(program, root), **_folder(program, root), **_retention(program, root)}


def _until(holds: Callable[[], Any], limit_s: float = _LIMIT_S) -> bool:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if holds():
            return True
        time.sleep(0.02)
    return False


def _resumed(program: Program, root: Path) -> dict[str, Any]:
    """A training killed in the middle and resumed has the weights of one that was left alone."""
    parts, results = inputs.parts(root / "parts"), {}
    data = ("--data", parts, "--size", 32, "--width", 8, "--epochs", 30, "--batch-size", 4, "--schedule", "cosine")
    for detector in ("ganomaly", "mnad"):
        more = ("--method", "recon") if detector == "mnad" else ()
        _, whole = fit(program, detector, *data, *more, out=root / f"{detector}-whole")
        out = root / f"{detector}-killed"
        process = program.start("fit", detector, *data, *more, "--out", out, *FEW)
        begun = _until(
            lambda out=out, process=process: process.poll() is not None or list(out.glob("*/checkpoints/last"))
        )
        alive = process.poll() is None
        process.kill()
        process.wait()
        runs = sorted(out.iterdir()) if out.is_dir() else []
        if not runs or whole is None:
            results[f"resume {detector}"] = "no run"
            continue
        done = program.call("fit", detector, "--resume", runs[0], "--json")
        results[f"resume {detector}"] = {
            "checkpoint seen": begun,
            "killed before its end": alive,
            **done.entry(json=True),
            "weights": content_hash(runs[0]),
            "weights left alone": content_hash(whole),
            "files": files_below(runs[0]),
            "scores": stored(runs[0]).get("bundle/calibrations/001.json"),
        }
        results[f"resume {detector} again"] = program.call("fit", detector, "--resume", runs[0]).entry()
    results["resume with other options"] = program.call(
        "fit", "ganomaly", "--resume", root / "nowhere", "--data", parts
    ).entry()
    return results


class _Server:
    """Takes messages, or refuses them with a code."""

    def __init__(self, code: int = 200, port: int = 0) -> None:
        accepted = self.accepted = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if code == 200 and self.headers.get("Content-Type", "").startswith("application/json"):
                    accepted.append(json.loads(body))
                self.send_response(code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> int:
        port = self.server.server_port
        self.server.shutdown()
        self.server.server_close()
        return port


def _bundle(program: Program, root: Path) -> Path | None:
    if not (root / "yard").is_dir():
        inputs.yard(root / "yard", masks=False)
        fit(program, "pixel_gaussian", "--data", root / "yard", "--size", 32, out=root / "yard-runs")
    return next(iter(sorted((root / "yard-runs").iterdir())), None)


def _config(program: Program, root: Path, name: str, **values: Any) -> Path:
    defaults = {
        "bundle": str(_bundle(program, root)), "threads": 1, "device": "cpu", "out": str(root / f"{name}-out"),
        "rules": {"min_duration_s": 0.2, "merge_gap_s": 0.3}, "record": {"pre_roll_s": 0.3, "post_roll_s": 0.3},
    }  # fmt: skip
    return program.watch_file(root / f"{name}.yaml", {**defaults, **values})


def _spooled(program: Program, root: Path) -> dict[str, Any]:
    """Killed while its receiver is down; delivered, once each, by the next start."""
    film = inputs.video(root / "film.mp4", inputs.film(9, odd=[(10, 25), (40, 55)], frames=70))
    down = _Server(503)
    port = down.server.server_port
    camera = {"name": "yard", "source": str(film), "realtime": True}
    file = _config(program, root, "spool", sinks=[f"webhook:http://127.0.0.1:{port}/x"], cameras=[camera])
    process = program.start("watch", "--config", file, "--json")
    database = root / "spool-out"

    def waiting() -> int:
        paths = list(database.rglob("*.db"))
        try:
            with sqlite3.connect(f"file:{paths[0]}?mode=ro", uri=True) as connection:
                return int(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])
        except (IndexError, sqlite3.Error):
            return 0

    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    _until(lambda: process.poll() is not None or (len(lines) >= 4 and waiting() >= 2), 240)
    waiting_at_kill = waiting()
    process.send_signal(signal.SIGKILL)
    process.wait()
    down.close()
    up = _Server(200, port)
    calm = inputs.video(root / "calm.mp4", inputs.film(9, frames=60))
    file = _config(
        program, root, "spool", sinks=[f"webhook:http://127.0.0.1:{port}/x"], cameras=[{**camera, "source": str(calm)}]
    )
    done = program.call("watch", "--config", file, "--json", alone=True)
    up.close()
    events = [value.get("event", value) for value in up.accepted]
    closed = [event for event in events if event.get("state") == "closed"]
    return {
        "spool": {
            "some waited at the kill": waiting_at_kill >= 2,
            "exit of the next start": done.code,
            "all told": {event["id"] for event in map(json.loads, lines)} <= {event["id"] for event in events},
            "closed events told": len(closed),
            "told more than once": len(closed) - len({event["id"] for event in closed}),
            "left waiting": waiting(),
        }
    }


def _folder(program: Program, root: Path) -> dict[str, Any]:
    """Images that arrive before, during, and between two starts are each looked at once."""
    folder = root / "inbox"
    images = inputs.film(3, odd=[(0, 99)], frames=8)
    inputs.picture(folder / "before.png", images[0])
    sink = root / "folder.jsonl"
    file = _config(
        program, root, "folder", sinks=[f"jsonl:{sink}"], cameras=[{"name": "inbox", "source": str(folder)}],
        rules={"min_duration_s": 0.0, "merge_gap_s": 0.0},
    )  # fmt: skip
    starts = []
    for first, names in ((0, ("a", "b")), (1, ("c",))):  # images that lie there at the start and are new to it
        process = program.start("watch", "--config", file, "--json")
        lines, logged = _read(process.stdout), _read(process.stderr)
        _until(lambda logged=logged: any("inbox" in line for line in logged))
        time.sleep(2)  # for the first look
        all_scored = _until(lambda lines=lines, first=first: _looked_at(lines) >= first, 60)
        for i, name in enumerate(names, 1):
            inputs.picture(folder / f"{name}.png", images[1 + 2 * first + i])
            all_scored &= _until(lambda lines=lines, enough=first + i: _looked_at(lines) >= enough, 60)
        process.send_signal(signal.SIGTERM)
        code = process.wait(_LIMIT_S)
        time.sleep(0.5)
        starts.append({"exit": code, "all seen": all_scored, "looked at": _looked_at(lines)})
        inputs.picture(folder / "between.png", images[7])
    return {"folder": {"starts": starts}}


def _looked_at(lines: list[str]) -> int:
    """Images in events that are over: each image is one score, as all of them are anomalous."""
    events = [json.loads(line) for line in lines]
    return sum(len(event["scores"]) for event in events if event["state"] == "closed")


def _read(pipe: Any) -> list[str]:
    """Lines of a pipe as they come."""
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(pipe), daemon=True).start()
    return lines


def _retention(program: Program, root: Path) -> dict[str, Any]:
    """Files of old events, and the ages in days of those left: by age, by room, and after a start that gives room.

    A start looks at ages only ten minutes later, so that these are asked of the class.
    """
    results: dict[str, Any] = {}
    for name, limits in {"days": (30, None), "room": (None, 2e-6), "both": (30, 1e-6)}.items():
        folder = root / f"keep-{name}"
        _old_events(folder, root_s := 1_760_000_000.0)
        results[f"retention {name}"] = {
            "removed": program.ask(lambda folder=folder, limits=limits, now=root_s: _swept(folder, limits, now)),
            "left": _ages(folder),
        }
    out = root / "keep-out"
    _old_events(out / "events", time.time())
    film = inputs.video(root / "short.mp4", inputs.film(9, frames=20))
    camera = {"name": "yard", "source": str(film), "realtime": True}
    file = _config(program, root, "keep", cameras=[camera], keep_gb=2e-6)
    done = program.call("watch", "--config", file, "--json", alone=True)
    results["retention at a start"] = {"exit": done.code, "left": _ages(out / "events")}
    return results


def _swept(folder: Path, limits: tuple[Any, Any], now_s: float) -> Any:
    try:
        kind = internal("offnormal.sinks.retention:Retention")
    except LookupError as error:
        return str(error.args[0])
    return kind(folder, days=limits[0], gigabytes=limits[1]).sweep(now_s)


def _old_events(folder: Path, now_s: float) -> None:
    for age in (40, 31, 29, 3, 2, 1):
        start_s = now_s - age * 86_400
        day = folder / time.strftime("%Y-%m-%d", time.gmtime(start_s))
        day.mkdir(parents=True)
        for ending in (".jpg", "-heat.jpg", ".mp4"):
            path = day / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(start_s))}.000Z-{age:08x}{ending}"
            path.write_bytes(bytes(200))
            os.utime(path, (start_s, start_s))


def _ages(folder: Path) -> list[int]:
    return sorted({int(path.name.partition("Z-")[2][:8], 16) for path in folder.rglob("*Z-*")})
