"""offnormal import DETECTOR --weights FILE ...: one command per detector whose published weights can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from pydantic import BaseModel

from offnormal.cli.detector_command import detector_command

if TYPE_CHECKING:
    from offnormal.config.fit import ImportConfig

_SUMMARY = "Make a bundle of weights that the published code has saved; its structure is read from their shapes."
_IMPORTABLE = {
    "ganomaly": "netG.pth and, where it is there, netD.pth, as samet-akcay/ganomaly saves them",
    "mnad": "the tensors of model.pth, and the memory items of keys.pt, as cvlab-yonsei/MNAD saves them",
    "memae": "a state dict of donggong1/memae-anomaly-detection, for clips",
}


def _tree() -> App:
    app = App(
        name="import",
        help="Make a bundle of weights that a method's published code has saved.",
        result_action="return_value",
    )
    for name, summary in _IMPORTABLE.items():
        app.command(f"offnormal.cli.import_:{name}", name=name, help=summary)
    return app


def __getattr__(name: str) -> Callable[..., int]:
    """The command of a detector, made when it is asked for: only then is the detector imported."""
    if name not in _IMPORTABLE:
        raise AttributeError(name)
    return _command_for(name)


def _command_for(name: str) -> Callable[..., int]:
    from offnormal.verbs.import_weights import import_config

    return detector_command(name, import_config(name), _import, _SUMMARY)


def _import(name: str, model: type[ImportConfig], options: BaseModel | None, file: Path | None, json: bool) -> int:
    from offnormal.cli.show import program, say, say_json
    from offnormal.config.layers import build
    from offnormal.config.model import set_values
    from offnormal.verbs.import_weights import import_run

    run = import_run(name, build(model, set_values(options), file=file, detector=name))
    bundle = run.bundle
    if json:
        say_json({"run": run.path, "bundle": bundle.path, "hash": bundle.hash, "imported": bundle.card["imported"]})
        return 0
    spec, files = bundle.detector.input, ", ".join(bundle.card["imported"])
    say(f"{name} from {files}: {spec.size[0]} x {spec.size[1]} px, {'colour' if spec.channels == 3 else 'grey'}")
    say("calibration  none: scores come without verdicts")
    say(f"bundle       {bundle.path}")
    say(f"next         {program()} calibrate {bundle.path} --normal DIR")
    return 0


command = _tree()
