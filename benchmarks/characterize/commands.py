"""Section 6: what the command line answers: right and wrong calls, keys of --json, defaults, precedence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import inputs
from fitted import FEW, fit
from program import Program, files_below, read_yaml

_VERBS = [
    "fit", "calibrate", "evaluate", "compare", "predict", "watch", "benchmark", "import", "upload", "list", "demo",
    "doctor",
]  # fmt: skip
_DETECTORS = ("padim", "ganomaly", "memae", "mnad", "embedding_ae", "pixel_gaussian", "frame_difference")


def record(program: Program) -> dict[str, Any]:
    """An entry for each call."""
    root = program.folder("commands")
    names = _inputs(program, root)
    results: dict[str, Any] = {}
    for words in _RIGHT + _WRONG:
        results[f"call {words}"] = _called(program, root, names, words)
    for words in ("--version", "predikt", "fit padim", "predict BUNDLE TEST --exit-code --json", "list layouts"):
        results[f"alone {words}"] = program.call(*_filled(words, names), cwd=root, alone=True).entry()
    for verb in _VERBS:
        results[f"help {verb}"] = _flags(program.help_page(verb))
    for detector in _DETECTORS:
        results[f"help fit {detector}"] = _flags(program.help_page("fit", detector))
    results |= _keys(program, root, names) | _precedence(program, root, names)
    return results


_RIGHT = """\

--help
--version
list detectors
list layouts
list sinks
list backbones
list detectors --json
list layouts --json
fit padim --data PARTS --size 64 --out OUT
fit padim --normal PARTS/train/good --size 64 --out OUT
fit padim --config CONFIG --out OUT
fit pixel_gaussian --data YARD --size 32 --out OUT
fit ganomaly --data PARTS --size 32 --width 8 --steps 2 --batch-size 4 --out OUT
calibrate RUN --normals MORE
calibrate RUN --normals MORE --rate 10%
evaluate RUN --data PARTS
evaluate RUN --data PARTS --out OUT
evaluate RUN --test PARTS/test --out OUT
evaluate VRUN --data YARD --out OUT
predict BUNDLE TEST
predict BUNDLE TEST --json
predict BUNDLE TEST --exit-code
predict BUNDLE ONE --exit-code
predict BUNDLE TEST --threshold 100 --csv OUT/rows.csv
predict BUNDLE TEST --csv -
predict VBUNDLE FILM
predict VBUNDLE FILM --every 1s --merge-gap-s 0.2
predict VBUNDLE FILM --hold --json --exit-code
predict VBUNDLE FRAMES --as-video --fps 10
predict BUNDLE FILM
predict BUNDLE TEST ONE --on-bad skip
compare RUN RUN2
compare RUN RUN2 --json
watch VBUNDLE FILM --dry-run --out OUT
watch VBUNDLE FILM --dry-run --out OUT --json
watch VBUNDLE FILM --check --out OUT
watch VBUNDLE FILM --check --json --out OUT --zone EXCLUDE
watch VBUNDLE FILM --check --connect --out OUT
predict BUNDLE BROKEN --on-bad skip
""".splitlines()
_WRONG = """\
predikt
fit
fit padin
fit padim
fit padim --dat x
fit padim --data nowhere
fit padim --data PARTS --eps -1
fit padim --data PARTS --size tiny
fit padim --data PARTS --size 1x1
fit padim --data PARTS --on-bad cry
fit padim --data PARTS --rate 1% --out OUT
fit padim --data PARTS --rate 2/day --out OUT
fit padim --data PARTS --rate 200%
fit padim --data PARTS --layers nothing --out OUT
fit padim --data PARTS --backbone resnet_none --out OUT
fit padim --data PARTS --device cuda:9 --out OUT
fit padim --config WRONGKEY
fit padim --config NOTYAML
fit padim --config nowhere.yaml
fit ganomaly --config CONFIG
fit mnad --data PARTS --size 32 --out OUT
fit mnad --data YARD --memory-size 1
fit memae --data PARTS --frames 4 --form image
fit ganomaly --data PARTS --size 33 --out OUT
fit ganomaly --data PARTS --epochs 1 --steps 1 --out OUT
fit embedding_ae --data YARD --unfreeze nothing --out OUT --size 32
predict
predict BUNDLE
predict nowhere ONE
predict BUNDLE nowhere.png
predict BUNDLE BROKEN
predict VBUNDLE TEST
predict BUNDLE TEST --annotate x.mp4
predict BUNDLE TEST --threshold nan
predict VBUNDLE FILM --every 0s
evaluate BUNDLE
evaluate BUNDLE --data nowhere
evaluate BUNDLE --data YARD --out OUT
evaluate VBUNDLE --data PARTS --out OUT
evaluate RUN --data PARTS --smooth 1s --out OUT
evaluate DAMAGED --data PARTS
calibrate BUNDLE
calibrate RUN --normals PARTS/train/good
calibrate RUN --normals MORE --rate 0.1%
calibrate RUN --normals MORE --rate often
compare RUN
compare RUN nowhere
compare RUN VRUN
list things
import padim x.pth
import mnad nowhere.pth
upload nowhere s3://x/y
watch
watch VBUNDLE
watch VBUNDLE nowhere.mp4
watch VBUNDLE FILM --rate 1%
watch VBUNDLE FILM --rate 2/day --dry-run
watch VBUNDLE FILM --sink jsn:x
watch VBUNDLE FILM --zone 0,0
watch VBUNDLE FILM --schedule noon
watch VBUNDLE FILM --timezone Europe/Berlin
watch VBUNDLE FILM --connect
watch VBUNDLE rtsp://host/1 --dry-run
watch --config WRONGKEY
benchmark nowhere
""".splitlines()


def _inputs(program: Program, root: Path) -> dict[str, str]:
    """What the words in capitals stand for."""
    parts, more = inputs.parts(root / "parts", train=12, good=4, bad=4), inputs.parts(root / "more", seed=7)
    yard = inputs.yard(root / "yard")
    frames = inputs.film(3, odd=[(5, 15)], frames=20)
    for i, image in enumerate(frames):
        inputs.picture(root / "frames" / f"{i:03}.png", image)
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    _, run = fit(program, "padim", "--data", parts, "--size", 64, out=root / "run")
    _, second = fit(program, "pixel_gaussian", "--data", parts, "--size", 32, out=root / "run2")
    _, films = fit(program, "pixel_gaussian", "--data", yard, "--size", 32, out=root / "vrun")
    for run_folder, data in ((run, parts), (second, parts), (films, yard)):
        program.call("evaluate", run_folder, "--data", data, *FEW)
    damaged = root / "damaged"
    if run is not None:
        shutil.copytree(run / "bundle", damaged)
        (damaged / "config.yaml").write_text("format_version: 1\n")
    (root / "fit.yaml").write_text(
        json.dumps({"data": str(parts), "size": 64, "detector": {"name": "padim", "eps": 0.5}})
    )
    (root / "wrong.yaml").write_text(json.dumps({"dataa": str(parts)}))
    (root / "not.yaml").write_text("a: [1\n")
    return {
        "PARTS": str(parts), "MORE": str(more / "train/good"), "YARD": str(yard), "OUT": str(root / "out"),
        "CONFIG": str(root / "fit.yaml"), "WRONGKEY": str(root / "wrong.yaml"), "NOTYAML": str(root / "not.yaml"),
        "RUN": str(run), "RUN2": str(second), "VRUN": str(films),
        "BUNDLE": f"{run}/bundle", "VBUNDLE": f"{films}/bundle",
        "TEST": str(parts / "test"), "ONE": str(parts / "test/good/000.png"), "FILM": str(yard / "test/odd.mp4"),
        "FRAMES": str(root / "frames"), "BROKEN": str(root / "broken.png"), "DAMAGED": str(damaged),
        "EXCLUDE": "exclude:0,0 1,0 1,1",
    }  # fmt: skip


def _filled(words: str, names: dict[str, str]) -> list[str]:
    return [re.sub(r"^([A-Z]+\d?)(?=/|$)", lambda match: names.get(match[1], match[1]), word) for word in words.split()]


def _called(program: Program, root: Path, names: dict[str, str], words: str) -> dict[str, Any]:
    """Exit code, output, and what was written to OUT."""
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    saved = {
        name: Path(names[name]) for name in ("RUN", "RUN2", "VRUN") if words.startswith("calibrate") and name in words
    }
    for name, path in saved.items():
        shutil.copytree(path, root / f"saved-{name}")
    if "OUT/" in words:
        out.mkdir()
    env = {"OFFNORMAL_THREADS": "1"}
    done = program.call(*_filled(words, names), cwd=root, env=env)
    for name, path in saved.items():
        shutil.rmtree(path)
        (root / f"saved-{name}").rename(path)
    entry = done.entry(json="--json" in words)
    if "--dry-run" in words and "--json" not in words:  # the last column is the speed
        entry["stdout"] = [re.sub(r"(%.*\d)\s+\d+$", r"\1", line) for line in entry["stdout"]]
    return {
        **entry,
        "written": [re.sub(r"^\d{8}-\d{6}", "RUN", name) for name in files_below(out)] if out.is_dir() else [],
    }


def _flags(text: str) -> dict[str, str]:
    """Flags of a help page with their descriptions and defaults, and the rest of its text."""
    flags: dict[str, str] = {}
    current = "text"
    for line in text.splitlines():
        plain = " ".join(line.strip("│ ╭╮╰╯─").split())
        match = re.match(r"^[*]?\s*(--[a-z][\w-]*|[A-Z][A-Z_]+\b)(.*)$", plain)
        if match and line.startswith("│"):
            current = match[1]
            flags[current] = match[2].strip()
        elif line.startswith("│"):
            flags[current] = f"{flags.get(current, '')} {plain}".strip()
        else:
            current = "text"
            flags["text"] = f"{flags.get('text', '')} {plain}".strip()
    return flags


def _keys(program: Program, root: Path, names: dict[str, str]) -> dict[str, Any]:
    """Keys of what every verb prints with --json, nested ones with dots."""
    calls = {
        "fit images": "fit padim --data PARTS --size 64 --out OUT --json",
        "fit videos": "fit pixel_gaussian --data YARD --size 32 --out OUT --json",
        "fit trained": "fit ganomaly --data PARTS --size 32 --width 8 --steps 2 --batch-size 4 --out OUT --json",
        "evaluate images": "evaluate RUN --data PARTS --out OUT --json",
        "evaluate videos": "evaluate VRUN --data YARD --out OUT --json",
        "predict images": "predict BUNDLE TEST --json",
        "predict videos": "predict VBUNDLE FILM --json",
        "compare": "compare RUN RUN2 --json",
        "calibrate": "calibrate RUN --normals MORE --json",
        "check": "watch VBUNDLE FILM --check --json",
        "dry run": "watch VBUNDLE FILM --dry-run --json",
        "benchmark": "benchmark BUNDLE --json",
        "doctor": "doctor --json",
    }
    results = {}
    for name, words in calls.items():
        done = program.call(*_filled(words, names), cwd=root, env={"OFFNORMAL_THREADS": "1"})
        results[f"keys of {name}"] = {
            "exit": done.code,
            "keys": sorted({key for value in done.json for key in _names(value)}),
        }
    return results


def _names(value: Any, before: str = "") -> list[str]:
    if isinstance(value, dict):
        return [name for key, inner in value.items() for name in (f"{before}{key}", *_names(inner, f"{before}{key}."))]
    if isinstance(value, list):
        return [name for inner in value for name in _names(inner, f"{before}[].")]
    return []


def _precedence(program: Program, root: Path, names: dict[str, str]) -> dict[str, Any]:
    """File, environment, and flag, for an option of the verb and one of the detector; and all defaults."""
    results: dict[str, Any] = {}
    file = root / "layers.yaml"
    file.write_text(json.dumps({"data": names["PARTS"], "size": 32, "detector": {"name": "pixel_gaussian", "seed": 5}}))
    variables = {"OFFNORMAL_SIZE": "48", "OFFNORMAL_DETECTOR_SEED": "6"}
    for name, (env, flags) in {
        "file": ({}, []),
        "environment": (variables, []),
        "flag": (variables, ["--size", "64", "--seed", "7"]),
        "wrong environment": ({"OFFNORMAL_SIZE": "tiny"}, []),
    }.items():
        out = root / f"layers-{name.replace(' ', '-')}"
        done = program.call("fit", "pixel_gaussian", "--config", file, "--out", out, *flags, env=env)
        texts = [path.read_text() for path in sorted(out.glob("*/config.yaml"))] if out.is_dir() else []
        results[f"precedence {name}"] = {**done.entry(), "config.yaml": [read_yaml(text) for text in texts]}
    results["expanded variable"] = program.call(
        "predict", names["BUNDLE"], names["ONE"], "--config", _written(root / "v.yaml", {"threshold": "${LIMIT}"}),
        "--json", env={"LIMIT": "12.5"},
    ).entry(json=True)  # fmt: skip
    results["missing variable"] = program.call(
        "predict", names["BUNDLE"], names["ONE"], "--config", root / "v.yaml"
    ).entry()
    results["watch environment"] = program.call(
        "watch", names["VBUNDLE"], names["FILM"], "--dry-run", "--json", env={"OFFNORMAL_THRESHOLD": "10"}
    ).entry(json=True)
    return results


def _written(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(json.dumps(values))
    return path
