"""Section 1: every detector of frames in every form, from fit to verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import inputs
from fitted import evaluated, fit, stored, whole
from program import Program

_TINY = ("--size", 32, "--width", 8, "--epochs", 2, "--batch-size", 8)
_FORMS: dict[str, tuple[object, ...]] = {  # name -> detector and options
    "padim": ("padim", "--size", 64),
    "padim motion": ("padim", "--size", 64, "--motion"),
    "padim every": ("padim", "--size", 64, "--every", "0.5s"),
    "pixel_gaussian": ("pixel_gaussian", "--size", 64),
    "frame_difference": ("frame_difference", "--size", 64),
    "mnad pred": ("mnad", *_TINY),
    "mnad recon": ("mnad", *_TINY, "--method", "recon"),
    "mnad update": ("mnad", *_TINY, "--update", "--update-threshold", 1),
    "mnad carry over": ("mnad", *_TINY, "--method", "recon", "--update", "--carry-over", "--update-threshold", 1),
    "mnad paper": ("mnad", *_TINY, "--compat", "paper", "--memory-size", 4),
    "mnad no memory": ("mnad", *_TINY, "--memory-size", 0),
    "memae clips": ("memae", *_TINY, "--frames", 8, "--hop", 4),
    "memae code": ("memae", *_TINY, "--frames", 8, "--compat", "code"),
}
_MEASURED = {
    "padim motion",
    "pixel_gaussian",
    "frame_difference",
    "mnad pred",
    "mnad recon",
    "mnad update",
    "memae clips",
}


def record(program: Program) -> dict[str, Any]:
    """An entry for each form."""
    root = program.folder("videos")
    yard, results = inputs.yard(root / "yard"), {}
    for name, (detector, *options) in _FORMS.items():
        out = root / "runs" / name.replace(" ", "-")
        results[name] = whole(
            program,
            str(detector),
            ["--data", yard],
            *options,
            out=out,
            test=[yard / "test"],
            measured=name in _MEASURED,
        )
    runs = sorted(path.parent for path in (root / "runs" / "pixel_gaussian").glob("*/bundle"))
    if runs:
        results |= _further(program, root, yard, runs[0])
    return results | _real(program, root)


def _further(program: Program, root: Path, yard: Path, run: Path) -> dict[str, Any]:
    """Flags of evaluate and calibrate that have to do with time."""
    results: dict[str, Any] = {}
    for name, flags in {
        "smooth": ("--smooth", "0.5s"),
        "merge gap": ("--merge-gap", "3s"),
        "histogram": ("--max-pixels", 1000),
    }.items():
        results[f"evaluate {name}"] = evaluated(program, run, "--data", yard, *flags)
    normals = inputs.video(root / "normal.mp4", inputs.film(8, frames=300))
    for rate in (None, "5%", "1%", "600/hour", "2/hour"):
        flags = () if rate is None else ("--rate", rate)
        done = program.call("calibrate", run, "--normals", normals, *flags, "--json")
        results[f"calibrate {rate}"] = {**done.entry(json=True), "stored": stored(run)}
    results["calibrate, then evaluate"] = evaluated(program, run, "--data", yard)
    return results


def _real(program: Program, root: Path) -> dict[str, Any]:
    """One video of Avenue to learn from, one to test on."""
    if program.data is None:
        return {}
    source, avenue, results = program.data / "video/avenue_mini", root / "avenue", {}
    for part, name in (("train", "10*"), ("test", "21*")):
        for path in sorted((source / part).glob(name)):
            (avenue / part).mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, avenue / part / path.name)
    shutil.copyfile(source / "gt.npz", avenue / "gt.npz")
    data: list[Any] = ["--data", avenue, "--fps", 25]
    for detector, size in (("pixel_gaussian", 32), ("frame_difference", 32)):
        done, run = fit(program, detector, *data, "--size", size, out=root / "runs" / f"avenue-{detector}")
        entry = results[f"real avenue {detector}"] = {"fit": done.entry(json=True)}
        if run is not None:
            entry |= {"stored": stored(run), **evaluated(program, run, *data)}
    return results
