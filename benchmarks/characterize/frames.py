"""Section 3: times and numbers of frames, as `predict` and `evaluate` have them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import inputs
import numpy as np
from fitted import FEW, fit
from program import Program, internal, read_csv, read_json


def record(program: Program) -> dict[str, Any]:
    """An entry for each recording and each way to look at it."""
    root = program.folder("frames")
    yard = inputs.yard(root / "yard")
    bundles = {
        name: fit(program, *options, "--data", yard, "--size", 32, out=root / "runs" / name)[1]
        for name, options in {
            "frames": ("pixel_gaussian",),
            "hop": ("memae", "--form", "video", "--width", 8, "--frames", 4, "--hop", 3, "--epochs", 1),
            "half a second": ("padim", "--motion", "--motion-s", 0.5),
        }.items()
    }
    results: dict[str, Any] = {}
    recordings = _recordings(root / "recordings")
    for name, path in recordings.items():
        results[f"times {name}"] = program.ask(lambda path=path: _times(path))
        for bundle, run in bundles.items():
            if bundle != "frames" and name not in ("constant", "variable", "clock jumps", "folder"):
                continue
            ways: dict[str, tuple[object, ...]] = {"": ()}
            if bundle == "frames":
                ways |= {"every 0.3s": ("--every", "0.3s")} if name != "empty" else {}
                ways |= {"fps 5": ("--fps", 5)} if name in ("folder", "raw h264", "constant") else {}
            elif bundle == "hop":
                ways |= {"hold": ("--hold",)}
            for way, flags in ways.items():
                label = f"predict {name}, {bundle} {way}".strip()
                results[label] = _predicted(program, run, path, root / "rows.csv", *flags)
    results |= _evaluated(program, bundles["frames"], recordings, root)
    return results


def _predicted(program: Program, run: Path | None, path: Path, table: Path, *flags: object) -> dict[str, Any]:
    table.unlink(missing_ok=True)
    folders = ("--as-video",) if path.is_dir() else ()
    done = program.call("predict", run, path, *folders, *flags, "--csv", table, "--json", *FEW)
    return {**done.entry(json=True), "rows": read_csv(table)}


def _evaluated(program: Program, run: Path | None, recordings: dict[str, Path], root: Path) -> dict[str, Any]:
    """Seconds and rates of evaluations of single recordings, half of each anomalous."""
    results = {}
    for name in (
        "constant",
        "variable",
        "lost packet",
        "no time in one packet",
        "clock jumps",
        "raw h264",
        "transport stream",
    ):
        folder = root / "sets" / name.replace(" ", "-")
        (folder / "test").mkdir(parents=True)
        path = recordings[name]
        shutil.copyfile(path, folder / "test" / path.name)
        results[f"evaluate {name}, no labels"] = program.call("evaluate", run, "--data", folder, *FEW).entry()
        rows = root / "count.csv"
        rows.unlink(missing_ok=True)
        program.call("predict", run, path, "--csv", rows, *FEW)
        count = len(rows.read_text().splitlines()) - 1 if rows.is_file() else 0
        (folder / "labels").mkdir()
        (folder / "labels" / f"{path.stem}.csv").write_text(
            "\n".join(str(int(i > count / 2)) for i in range(count)) + "\n"
        )
        out = folder / "out"
        done = program.call("evaluate", run, "--data", folder, "--out", out, *FEW)
        results[f"evaluate {name}"] = {
            **done.entry(), "metrics.json": read_json(out / "metrics.json"), "scores.csv": read_csv(out / "scores.csv"),
        }  # fmt: skip
    return results


def _times(path: Path) -> Any:
    """Frames and times by the reader itself."""
    try:
        opened = internal("offnormal.sources.video:open_video")(path)
    except LookupError as error:
        return str(error.args[0])
    with opened as source:
        frames = list(source.frames())
    return {"frames": len(frames), "times": [getattr(frame, "time_s", None) for frame in frames]}


def _recordings(root: Path) -> dict[str, Path]:
    images = inputs.film(4, odd=[(10, 20)])
    steady = [i / inputs.FPS for i in range(40)]
    rng = np.random.default_rng(2)
    uneven = np.cumsum(rng.uniform(0.05, 0.3, 40)).tolist()
    recordings = {
        "constant": inputs.video(root / "constant.mp4", images),
        "ntsc": inputs.video(root / "ntsc.mp4", images, fps=29.97),
        "variable": inputs.video(root / "variable.mp4", images, times=uneven),
        "late start": inputs.video(root / "late.mp4", images, times=[time + 100 for time in steady]),
        "gap": inputs.video(root / "gap.mp4", images, times=[time + 30 * (time > 2) for time in steady]),
        "lost packet": inputs.video(root / "lost.mkv", images, lost=7),
        "lost packet transport stream": inputs.video(root / "lost.ts", images, lost=7),
        "transport stream": inputs.video(root / "stream.ts", images),
        "raw h264": inputs.video(root / "raw.h264", images, format="h264"),
        "avi": inputs.video(root / "plain.avi", images, codec="mpeg4"),
        "mjpeg": inputs.video(root / "pictures.mjpeg", images, codec="mjpeg", format="mjpeg"),
        "webm": inputs.video(root / "vp8.webm", images, codec="libvpx"),
        "one frame": inputs.video(root / "one.mp4", images[:1]),
    }
    whole = recordings["constant"].read_bytes()
    recordings["cut short"] = root / "cut.ts"
    recordings["cut short"].write_bytes(recordings["transport stream"].read_bytes()[: int(len(whole) * 0.6)])
    recordings["not a video"] = root / "text.mp4"
    recordings["not a video"].write_text("nothing to see")
    recordings["clock jumps"] = root / "jumps.ts"  # two streams one after the other: the clock starts again
    inputs.video(root / "second.ts", images[:20])
    recordings["clock jumps"].write_bytes(
        recordings["transport stream"].read_bytes() + (root / "second.ts").read_bytes()
    )
    damaged = bytearray(recordings["transport stream"].read_bytes())
    for start in range(len(damaged) // 2, len(damaged) // 2 + 188 * 3):
        damaged[start] ^= 0x5A
    recordings["damaged packets"] = root / "damaged.ts"
    recordings["damaged packets"].write_bytes(damaged)
    recordings["no time in one packet"] = _without_one_time(recordings["avi"], root / "untimed.avi")
    for i, image in enumerate(images):
        inputs.picture(root / "folder" / f"{i:03}.png", image)
    recordings["folder"] = root / "folder"
    return recordings


def _without_one_time(path: Path, to: Path) -> Path:
    """A copy whose eighth frame cannot be decoded."""
    content = bytearray(path.read_bytes())
    start = -1
    for _ in range(8):
        start = content.find(b"00dc", start + 1)
    content[start + 8 : start + 24] = bytes(16)
    to.write_bytes(content)
    return to
