"""Section 9: no secret in any output or file after a watch whose addresses, sinks, and variables hold some."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import inputs
from fitted import fit
from program import Program

_SECRETS = ("hunter2pw", "tok3nvalue", "hmacs3cret", "h00kpath", "mailpa55")


def record(program: Program) -> dict[str, Any]:
    """For each call the places where a secret was found."""
    root = program.folder("privacy")
    inputs.yard(root / "yard", masks=False)
    _, run = fit(program, "pixel_gaussian", "--data", root / "yard", "--size", 32, out=root / "runs")
    film = inputs.video(root / "film.mp4", inputs.film(9, odd=[(10, 25)], frames=40))
    pw, token, hmac, hook, mail = _SECRETS
    port = _closed_port()
    sources = [
        f"rtsp://admin:{pw}@127.0.0.1:{port}/live?token={token}",
        f"http://user:{pw}@127.0.0.1:{port}/video?auth={token}",
    ]
    sinks = [
        {"kind": "webhook", "url": f"http://me:{pw}@127.0.0.1:{port}/{hook}?key={token}", "secret": hmac},
        f"jsonl:{root / 'out' / 'events.jsonl'}",
        {"kind": "apprise", "url": f"json://user:{mail}@127.0.0.1:{port}/{hook}"},
    ]
    cameras = [{"name": f"c{i}", "source": source} for i, source in enumerate(sources)]
    cameras.append({"name": "film", "source": str(film), "realtime": True})  # type: ignore[dict-item]
    common = {"bundle": str(run), "threads": 1, "out": str(root / "out"), "cameras": cameras,
              "rules": {"min_duration_s": 0.2}, "record": {"pre_roll_s": 0.2, "post_roll_s": 0.2}}  # fmt: skip
    results: dict[str, Any] = {}
    for name, values in {"webhook": {**common, "sinks": sinks[:2]}, "apprise": {**common, "sinks": sinks[1:]}}.items():
        file = program.watch_file(
            root.parent / f"secrets-{name}.yaml", values
        )  # holds them itself, so it lies elsewhere
        process = program.start("watch", "--config", file, "--json")
        output: list[str] = []
        threads = [threading.Thread(target=lambda pipe=pipe, output=output: output.extend(pipe), daemon=True)
                   for pipe in (process.stdout, process.stderr)]  # fmt: skip
        for thread in threads:
            thread.start()
        end_s = time.monotonic() + 240
        while time.monotonic() < end_s and process.poll() is None and not any('"closed"' in line for line in output):
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        results[f"watch {name}"] = {
            "exit": code,
            "an event was told": any('"closed"' in line for line in output),
            "secrets in output": _inside("".join(output)),
            "secrets in files": _files(root),
        }
        results[f"check {name}"] = _judged(program.call("watch", "--config", file, "--check", "--connect", "--json"))
    file = root.parent / "secrets-wrong.yaml"
    for name, values in {
        "unknown key": {**common, "rates": f"http://a:{pw}@h/"},
        "wrong sink": {**common, "sinks": [{"kind": "webhook", "url": f"ftp://me:{pw}@h/{hook}", "secret": hmac}]},
        "wrong source": {**common, "cameras": [{"source": f"rtspp://a:{pw}@h/x?token={token}"}]},
    }.items():
        program.watch_file(file, values)
        results[f"wrong {name}"] = _judged(program.call("watch", "--config", file, "--check"))
    program.watch_file(file, {**common, "sinks": ["webhook:http://127.0.0.1:1/${HOOK}"], "rate": "${PASSWORD}"})
    env = {"HOOK": hook, "PASSWORD": pw, "OFFNORMAL_WEBHOOK_SECRET": hmac}
    results["wrong variable"] = _judged(program.call("watch", "--config", file, "--check", env=env))
    done = program.call(
        "watch", f"{run}/bundle", sources[0], "--check", "--connect", "--sink", f"webhook:http://h/{hook}"
    )
    results["flags"] = _judged(done)
    return results


def _judged(done: Any) -> dict[str, Any]:
    return {"exit": done.code, "secrets": _inside(done.out + done.err), "traceback": "Traceback" in done.err,
            "lines": [len(done.out.splitlines()), len(done.err.splitlines())]}  # fmt: skip


def _inside(text: str) -> list[str]:
    return [secret for secret in _SECRETS if secret in text]


def _files(root: Path) -> dict[str, list[str]]:
    """Files below a folder that hold a secret; the spool's database must keep none either."""
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if inside := [secret for secret in _SECRETS if secret.encode() in content]:
                files[path.relative_to(root).as_posix()] = inside
    return files


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
