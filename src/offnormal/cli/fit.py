"""offnormal fit DETECTOR: one command per registered detector, with its options as flags."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from pydantic import BaseModel

from offnormal import registry
from offnormal.cli.detector_command import detector_command

if TYPE_CHECKING:
    from offnormal.config.fit import FitConfig
    from offnormal.run import Run


def _tree() -> App:
    app = App(
        name="fit",
        help="Learn normality from normal images or videos and calibrate.",
        result_action="return_value",
    )
    for name, summary in registry.names("detectors").items():
        app.command(f"offnormal.cli.fit:{name}", name=name, help=summary)
    return app


def __getattr__(name: str) -> Callable[..., int]:
    """The command of a detector, made when it is asked for: only then is the detector imported."""
    if name not in registry.names("detectors"):
        raise AttributeError(name)
    return _command_for(name)


def _command_for(name: str) -> Callable[..., int]:
    from offnormal.verbs.fit import fit_config

    return detector_command(name, fit_config(name), _fit, "Learn normality from normal images or videos and calibrate.")


def _fit(name: str, model: type[FitConfig], options: BaseModel | None, file: Path | None, json: bool) -> int:
    from offnormal.cli.show import program, progress_bar, say, say_json, warn_skipped
    from offnormal.config.layers import build
    from offnormal.config.model import set_values
    from offnormal.verbs.fit import fit_run, resumed_config

    given = set_values(options)
    resolved = build(model, given, file=file or resumed_config(getattr(options, "resume", None)), detector=name)
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
            "--normal-class": resolved.normal_class,
            "--layout": resolved.layout,
        }
        words = [word for flag, value in chosen.items() if value is not None for word in (flag, str(value))]
        say(f"next         {program()} evaluate {shlex.join(target + words)}")
    return 0


def _as_text(run: Run) -> list[str]:
    from offnormal.report.wording import counted

    bundle = run.bundle
    data, weights = bundle.card["data"], bundle.card["weights"]
    size = bundle.detector.input.size
    things = f"frames of {counted(data['videos'], 'video', 'videos')}" if data["kind"] == "video" else "images"
    things = data.get("things", things)
    lines = [
        f"{bundle.detector.name} on {data['name']}: {data['images']} normal {things} at {size[1]} x {size[0]} px",
        *(f"weights      {card['backbone']} from {card['source']} ({card['licence']})" for card in weights),
    ]
    if (training := bundle.card.get("training")) is not None:
        lines.append(f"training     {_trained(training)}")
        learning, total = training["parameters"]["learning"], training["parameters"]["total"]
        if learning < total:
            lines.append(f"parameters   {learning / 1e6:.2f} of {total / 1e6:.2f} million learnt")
    if bundle.calibration is None:
        lines.append("calibration  none: too little to leave out; scores come without verdicts (offnormal calibrate)")
    else:
        lines.append(f"threshold    {bundle.calibration.threshold:.6g}")
        lines.append(f"promise      {bundle.calibration.explanation}")
    for one in run.elsewhere:
        lines.append(
            f"{one.name:<12} {one.place or 'never reached'}{', incomplete' if one.missing and one.place else ''}"
        )
    return [*lines, f"bundle       {bundle.path}"]


def _trained(training: dict[str, Any]) -> str:
    """One line: how long it learnt and why it stopped, and which weights it kept."""
    why = {"done": "", "early": ", stopped early", "time": ", stopped by --max-time"}[training["stopped"]]
    best = ""
    if training["best_step"] is not None:
        best = f"; lowest validation loss {training['best_loss']:.4g} after epoch {training['best_epoch']}"
    if training["early_loss"] is not None:
        best += f", {training['early_loss']:.4g} while the embedder was frozen"
    kept = f"; {training['kept_back']} kept back"
    return f"{training['steps']} steps, {training['epochs']} epochs{why}{best}{kept}"


def _as_json(run: Run) -> dict[str, Any]:
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
        "elsewhere": {one.name: {"place": one.place, "missing": one.missing} for one in run.elsewhere},
        "skipped": [{"path": bad.path, "reason": bad.reason} for bad in run.skipped],
    }


command = _tree()
