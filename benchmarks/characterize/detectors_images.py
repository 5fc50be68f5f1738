"""Section 1: every detector of images in every form, from fit to verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import inputs
import numpy as np
from fitted import evaluated, fit, scored, stored, whole
from program import Program

_SHORT = ("--epochs", 2, "--batch-size", 8)
_SMALL = ("--size", 32, "--width", 8, *_SHORT)


def record(program: Program) -> dict[str, Any]:
    """An entry for each form."""
    root = program.folder("images")
    parts, wide = inputs.parts(root / "parts"), inputs.parts(root / "wide", size=(48, 80), seed=1)
    privacy, ignored = _masks(root)
    padim = ("padim", "--size", 64, "--batch-size", 4)
    forms: dict[str, tuple[object, ...]] = {  # name -> detector and options
        "padim": padim,
        "padim grid": (*padim, "--grid-stride", 8),
        "padim privacy mask": (*padim, "--mask", privacy),
        "padim ignored region": (*padim, "--ignore-mask", ignored),
        "padim groups": (*padim, "--group-by", r"(\d)\.png", "--rate", "20%"),
        "padim random": (*padim, "--reduce", "random", "--features", 30, "--seed", 4),
        "padim pca": (*padim, "--reduce", "pca", "--features", 30, "--shrinkage", "auto"),
        "padim sum": (*padim, "--fusion", "sum", "--rank", 5),
        "padim neighbors": (
            *padim, "--neighbours", 3, "--pool", "top", "--top-share", 0.01, "--border", "reflect_torch",
        ),
        "padim letterbox": (*padim, "--resize", "letterbox", "--interpolation", "bilinear", "--precision", "float16"),
        "padim crop": (*padim, "--resize", "short_side", "--crop", 48, "--eps", 0.1, "--no-eps-relative"),
        "pixel_gaussian": ("pixel_gaussian", "--size", 32),
        "ganomaly": ("ganomaly", *_SMALL, "--latent", 10),
        "ganomaly gray": (
            "ganomaly", *_SMALL, "--channels", 1, "--extra-layers", 1, "--score", "contextual", "--distance", "l1",
            "--schedule", "cosine", "--accumulate", 2, "--clip", 1,
        ),
        "memae": ("memae", "--size", 64, "--form", "image", "--width", 8, *_SHORT),
        "memae cosine": (
            "memae", *_SMALL, "--form", "cifar", "--memory", 50, "--similarity", "cosine", "--query", "whole",
        ),
        "mnad recon": ("mnad", "--method", "recon", *_SMALL),
    }  # fmt: skip
    measured = {"padim", "padim grid", "padim privacy mask", "padim ignored region", "ganomaly", "memae", "mnad recon"}
    through_python = {"padim", "padim grid", "padim random", "pixel_gaussian", "ganomaly", "memae", "mnad recon"}
    results: dict[str, Any] = {}
    images = sorted((parts / "test").rglob("*.png"))
    for name, (detector, *options) in forms.items():
        out = root / "runs" / name.replace(" ", "-")
        results[name] = whole(
            program,
            str(detector),
            ["--data", parts],
            *options,
            out=out,
            test=[parts / "test"],
            measured=name in measured,
        )
        if name in through_python and (runs := sorted(path.parent for path in out.glob("*/bundle"))):
            results[f"{name} through Python"] = program.ask(lambda run=runs[0]: scored(run, images))
    for name, size in (("padim rectangle", "48x80"), ("padim aspect", 64)):
        out = root / "runs" / name.replace(" ", "-")
        results[name] = whole(program, "padim", ["--data", wide], "--size", size, out=out, test=[wide / "test"])
    return results | _digits(program, root) | _recalibrated(program, root, parts) | _real(program, root)


def _masks(root: Path) -> tuple[Path, Path]:
    privacy, ignored = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    privacy[:30, :20] = ignored[:20] = 255
    return inputs.picture(root / "privacy.png", privacy), inputs.picture(root / "ignored.png", ignored)


def _digits(program: Program, root: Path) -> dict[str, Any]:
    """One digit normal: real ones where they are given."""
    real = None if program.data is None else program.data / "small"
    digits, results = inputs.digits(root / "digits", train=200, test=100, real=real), {}
    data: list[Any] = ["--data", digits, "--normal-class", 3]
    for name, options in {
        "ganomaly digits": ("ganomaly", "--width", 8, "--channels", 1, *_SHORT),
        "memae digits": ("memae", *_SHORT),
    }.items():
        done, run = fit(program, str(options[0]), *data, *options[1:], out=root / "runs" / name.replace(" ", "-"))
        results[name] = {"fit": done.entry(json=True)}
        if run is not None:
            results[name] |= {"stored": stored(run), **evaluated(program, run, *data)}
    return results


def _recalibrated(program: Program, root: Path, parts: Path) -> dict[str, Any]:
    """Other thresholds for the same bundle, and what cannot be guaranteed."""
    more, results = inputs.parts(root / "more", train=60, seed=9), {}
    _, run = fit(program, "padim", "--data", parts, "--size", 64, out=root / "runs" / "calibrated")
    if run is None:
        return {"calibrate": "no run"}
    normals = ("--normals", more / "train/good")
    for rate in (None, "1%", "5%", "0.2", "2/hour"):
        flags = () if rate is None else ("--rate", rate)
        done = program.call("calibrate", run, *normals, *flags, "--json")
        results[f"calibrate {rate}"] = {**done.entry(json=True), "stored": stored(run)}
    done = program.call("calibrate", run, *normals, "--group-by", r"(\d)\.png", "--json")
    results["calibrate by groups"] = done.entry(json=True)
    results["calibrate, then evaluate"] = evaluated(program, run, "--data", parts)
    done = program.call("predict", run, parts / "test", "--threshold", 200, "--json")
    results["threshold by hand"] = done.entry(json=True)
    return results


def _real(program: Program, root: Path) -> dict[str, Any]:
    """Some bottles."""
    if program.data is None:
        return {}
    bottle, source = root / "bottle", program.data / "images/mvtec_bottle_320"
    for folder, number in (("train/good", 20), ("test/good", 5), ("test/broken_large", 4), ("test/broken_small", 4)):
        for path in sorted((source / folder).iterdir())[:number]:
            for file in (path, *(source / "ground_truth" / path.parent.name).glob(f"{path.stem}_mask*")):
                target = bottle / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    out, test = root / "runs" / "bottle", [bottle / "test"]
    return {"real bottle": whole(program, "padim", ["--data", bottle], "--size", 128, out=out, test=test)}
