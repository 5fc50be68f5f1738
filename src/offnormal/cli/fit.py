"""offnormal fit DETECTOR: one command per registered detector, with its options as flags."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from pydantic import BaseModel

from offnormal import registry
from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.errors import UsageError

if TYPE_CHECKING:
    from offnormal.config.fit import FitConfig
    from offnormal.run import Run


def _tree() -> App:
    app = App(
        name="fit",
        help="Learn what is normal from normal images or video, and calibrate a threshold.",
        help_epilogue="Example: offnormal fit padim good_images/\nFlags of a detector: offnormal fit DETECTOR --help",
        result_action="return_value",
    )
    for name, summary in registry.names("detectors").items():
        example = f"Example: offnormal fit {name} DATASET/ --rate 1%\nEvery flag: --help-all"
        app.command(f"offnormal.cli.fit:{name}", name=name, help=summary, help_epilogue=example)
    return app


def __getattr__(name: str) -> Callable[..., int]:
    """The command of a detector, made on first use: only then is the detector imported."""
    if name not in registry.names("detectors"):
        raise AttributeError(name)
    from offnormal.verbs.fit import fit_config

    model = fit_config(name)

    @takes_flags(model, heading=name)
    def command(
        folder: Path | None = None,
        /,
        *,
        options: BaseModel | None = None,
        config: Path | None = None,
        json: bool = False,
    ) -> int:
        """Learn what is normal from normal images or video, and calibrate a threshold.

        Parameters
        ----------
        folder
            Dataset, or folder of normal images or videos: short for --data, or for --normal next to --test.
        config
            YAML file with the same keys; flags win.
        json
            Print the result as one JSON object.
        """
        return _fit(name, model, _with_folder(set_values(options), folder), config, json)

    return command


def _with_folder(given: dict[str, object], folder: Path | None) -> dict[str, object]:
    """The flags with the folder that was given without one."""
    if folder is None:
        return given
    for key in ("data", "normal"):
        if key in given:
            raise UsageError(f"{folder} and --{key} {given[key]}: expected the training data once, drop one of them")
    return {**given, "normal" if given.keys() & {"test", "masks"} else "data": folder}


def _fit(name: str, model: type[FitConfig], given: dict[str, object], file: Path | None, json: bool) -> int:
    from offnormal.cli.show import program, progress_bar, say, say_json, warn_skipped
    from offnormal.verbs.fit import fit_run, resumed_config

    resume = given.get("resume")
    earlier = resumed_config(resume) if isinstance(resume, str | Path) else None
    resolved = build(model, given, file=file or earlier, detector=name)
    with progress_bar() as progress:
        runs = fit_run(name, resolved, progress)
    for run in runs:
        warn_skipped(run.skipped, logged=True)
        if json:
            say_json(_as_json(run))
        else:
            for line in _as_text(run):
                say(line)
    if not json and resolved.data is not None and runs[0].has_test:
        target = [str(runs[0].path / "bundle" if len(runs) == 1 else runs[0].path.parent)]
        chosen = {
            "--data": resolved.data,
            "--category": resolved.category,
            "--layout": resolved.layout,
        }
        words = [word for flag, value in chosen.items() if value is not None for word in (flag, str(value))]
        say(f"next         {program()} evaluate {shlex.join(target + words)}")
    return 0


def _as_text(run: Run) -> list[str]:
    from offnormal.drawing.wording import counted

    bundle = run.bundle
    data, weights = bundle.card["data"], bundle.card["weights"]
    size = bundle.detector.input.size
    things = f"frames of {counted(data['videos'], 'video', 'videos')}" if data["kind"] == "video" else "images"
    things = "clips" if data.get("unit") == "clip" else things
    lines = [
        f"{bundle.detector.name} on {data['name']}: {data['images']} normal {things} at {size[0]} x {size[1]} px",
        *(f"weights      {card['backbone']} from {card['source']} ({card['license']})" for card in weights),
    ]
    if (training := bundle.card.get("training")) is not None:
        lines.append(f"training     {_trained(training)}")
        learning, total = training["parameters"]["learning"], training["parameters"]["total"]
        if learning < total:
            lines.append(f"parameters   {learning / 1e6:.2f} of {total / 1e6:.2f} million learned")
    if bundle.calibration is None:
        lines.append("calibration  none: too little to leave out; scores come without verdicts (offnormal calibrate)")
    else:
        lines.append(f"threshold    {bundle.calibration.threshold:.6g}")
        lines.append(f"promise      {bundle.calibration.explanation}")
    for one in run.destinations:
        lines.append(
            f"{one.name:<12} {one.location or 'never reached'}{', incomplete' if one.missing and one.location else ''}"
        )
    return [*lines, f"bundle       {bundle.path}"]


def _trained(training: Mapping[str, Any]) -> str:
    """One line: how long it learned and why it stopped, and which weights it kept."""
    why = {"done": "", "early": ", stopped early", "time": ", stopped by --max-time"}[training["stopped"]]
    best = ""
    if training["best_step"] is not None:
        best = f"; lowest validation loss {training['best_loss']:.4g} after epoch {training['best_epoch']}"
    if training["frozen_loss"] is not None:
        best += f", {training['frozen_loss']:.4g} while the embedder was frozen"
    kept = f"; {training['held_out']} held out"
    return f"{training['steps']} steps, {training['epochs']} epochs{why}{best}{kept}"


def _as_json(run: Run) -> dict[str, object]:
    calibration = run.bundle.calibration
    return {
        "run": run.path,
        "bundle": run.bundle.path,
        "hash": run.bundle.hash,
        "data": run.bundle.card["data"],
        **({"training": run.bundle.card["training"]} if "training" in run.bundle.card else {}),
        "calibration": None
        if calibration is None
        else {
            "threshold": calibration.threshold,
            "pixel_threshold": calibration.pixel_threshold,
            "rate": calibration.rate.value,
            "interval": calibration.interval,
            "kind": calibration.kind,
            "normals": len(calibration.scores),
        },
        "destinations": {one.name: {"location": one.location, "missing": one.missing} for one in run.destinations},
        "skipped": [{"path": bad.path, "reason": bad.reason} for bad in run.skipped],
    }


command = _tree()
