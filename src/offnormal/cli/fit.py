"""offnormal fit DETECTOR: one command per registered detector, with its options as flags."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from pydantic import BaseModel

from offnormal import registry
from offnormal.cli.flags import takes_flags
from offnormal.cli.show import Verbatim, aligned, program, progress_bar, say, say_json, warn, warn_counts, warn_skipped
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.errors import UsageError, score_text

if TYPE_CHECKING:
    from offnormal.config.fit import FitConfig
    from offnormal.data.dataset import Dataset
    from offnormal.run import Run

_FOLDERS = 20  # lines of training data


def _tree() -> App:
    app = App(
        name="fit",
        help="Learn what is normal from normal images or video, and calibrate a threshold.",
        help_epilogue="Example: offnormal fit padim good_images/\nFlags of a detector: offnormal fit DETECTOR --help",
        result_action="return_value",
    )
    for name, summary in registry.names("detectors").items():
        example = f"Example: offnormal fit {name} DATASET/ --rate 1%\nEvery flag: --help-all"
        usage = f"Usage: offnormal fit {name} [OPTIONS] [FOLDER]"
        app.command(f"offnormal.cli.fit:{name}", name=name, help=summary, help_epilogue=example, usage=usage)
    return app


def __getattr__(name: str) -> Callable[..., int]:
    """Create the command of a detector on first use, so that only this detector is imported."""
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
            Dataset, or folder of normal images or videos. Same as --data; with --test, same as --normal.
        config
            YAML file with settings, named like the flags; flags win.
        json
            Print the result as one JSON object.
        """
        return _fit(name, model, _with_folder(set_values(options), folder), config, json)

    return command


def _with_folder(values: dict[str, object], folder: Path | None) -> dict[str, object]:
    """The flags, with the positional folder as one of them."""
    if folder is None:
        return values
    for key in ("data", "normal"):
        if key in values:
            raise UsageError(f"{folder} and --{key} {values[key]}: expected the training data once, drop one of them")
    return {**values, "normal" if values.keys() & {"test", "masks"} else "data": folder}


def _fit(name: str, model: type[FitConfig], values: dict[str, object], file: Path | None, json: bool) -> int:
    from offnormal.verbs.fit import fit_run, resumed_config

    resume = values.get("resume")
    earlier = resumed_config(resume) if isinstance(resume, str | Path) else None
    resolved = build(model, values, file=file or earlier, detector=name)
    with progress_bar() as progress:
        runs = fit_run(name, resolved, progress, lambda dataset: _show_data(dataset, json))
    for run in runs:
        warn_skipped(run.skipped, logged=True)
        is_video = run.bundle.card["data"]["kind"] == "video"
        warn_counts(run.read, ("video", "videos") if is_video else ("image", "images"), run.skipped)
        if json:
            say_json(_as_json(run))
            continue
        if run is not runs[0]:
            say()
        for line in _as_text(run, _next_step(runs, resolved) if run is runs[-1] else None):
            say(line)
    return 0


def _show_data(dataset: Dataset, json: bool) -> None:
    """Print what is taken as training data, by folder; on stderr if stdout is JSON."""
    from offnormal.data.dataset import count_by_folder
    from offnormal.errors import counted

    noun = "video" if dataset.is_video else "image"
    folders = count_by_folder([*dataset.train, *dataset.calibration])
    show = warn if json else say
    show(f"training data of {dataset.name} (layout {dataset.layout}):")
    for folder, count in list(folders.items())[:_FOLDERS]:
        show(f"  {folder}: {counted(count, f'normal {noun}')}")
    if len(folders) > _FOLDERS:
        count = sum(list(folders.values())[_FOLDERS:])
        show(f"  {counted(len(folders) - _FOLDERS, 'more folder')}: {counted(count, f'normal {noun}')}")


def _next_step(runs: Sequence[Run], config: FitConfig) -> str:
    """The command to run after this target."""
    target = str(runs[0].path / "bundle" if len(runs) == 1 else runs[0].path.parent)
    if config.data is None or not runs[0].has_test:
        return shlex.join([*program().split(), "predict", target, "IMAGES_OR_VIDEOS"])
    flags = [("--data", config.data), ("--category", config.category), ("--layout", config.layout)]
    flags += [("--normal-class", name) for name in config.normal_class or ()]
    words = [word for flag, value in flags if value is not None for word in (flag, str(value))]
    return shlex.join([*program().split(), "evaluate", target, *words])


def _as_text(run: Run, next_step: str | None) -> list[str]:
    from offnormal.errors import counted

    bundle = run.bundle
    data, weights = bundle.card["data"], bundle.card["weights"]
    height, width = bundle.detector.input.size
    nouns = f"frames of {counted(data['videos'], 'video', 'videos')}" if data["kind"] == "video" else "images"
    nouns = "clips" if data.get("unit") == "clip" else nouns
    rows = [("weights", f"{card['backbone']} from {card['source']} ({card['license']})") for card in weights]
    if (training := bundle.card.get("training")) is not None:
        rows += _training_rows(training)
    if bundle.calibration is None:
        rows.append(("threshold", "none, too little data: scores have no verdicts (offnormal calibrate)"))
    else:
        rows.append(("threshold", score_text(bundle.calibration.threshold)))
        rows.append(("guarantee", bundle.calibration.explanation))
    for target in run.destinations:
        state = ", incomplete" if target.missing and target.location else ""
        rows.append((target.name, Verbatim(f"{target.location or 'never reached'}{state}")))
    rows.append(("bundle", Verbatim(bundle.path)))
    if next_step is not None:
        rows.append(("next", Verbatim(next_step)))
    title = f"{bundle.detector.name} on {data['name']}: {data['images']} normal {nouns} at {height}x{width} px"
    return [title, *aligned(rows)]


def _training_rows(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How long training took, why it stopped, and which weights were chosen."""
    from offnormal.errors import counted

    reason = {"done": "", "early": ", stopped early", "time": ", stopped by --max-time (continue with --resume)"}
    steps = f"{counted(training['steps'], 'step', 'steps')}, {counted(training['epochs'], 'epoch', 'epochs')}"
    rows = [("training", steps + reason[training["stopped"]])]
    if training["best_step"] is not None:
        best = f"{training['best_loss']:.4g} after epoch {training['best_epoch']}"
        frozen = training["frozen_loss"]
        rows.append(("best loss", best + (f" ({frozen:.4g} before fine-tuning)" if frozen is not None else "")))
    rows.append(("held out", f"{counted(training['held_out'], 'sample', 'samples')} for validation and threshold"))
    trained, total = training["parameters"]["learning"], training["parameters"]["total"]
    if trained < total:
        rows.append(("parameters", f"{trained / 1e6:.2f} of {total / 1e6:.2f} million trained"))
    return rows


def _as_json(run: Run) -> dict[str, object]:
    from offnormal.data.unread import counts_as_json

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
        "destinations": {
            target.name: {"location": target.location, "missing": target.missing} for target in run.destinations
        },
        **counts_as_json(run.read, run.skipped),
    }


command = _tree()
