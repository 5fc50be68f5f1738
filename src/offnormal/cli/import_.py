"""offnormal import DETECTOR --weights FILE: one command per detector whose published weights can be read."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.cli.show import Verbatim, aligned, program, say, say_json
from offnormal.config.layers import build
from offnormal.config.model import set_values

if TYPE_CHECKING:
    from offnormal.config.fit import ImportConfig

_IMPORTABLE = {
    "ganomaly": "Import netG.pth and, optionally, netD.pth of samet-akcay/ganomaly.",
    "mnad": "Import the tensors of model.pth and the memory items of keys.pt of cvlab-yonsei/MNAD.",
    "memae": "Import a state dict of donggong1/memae-anomaly-detection; for clips.",
}


def _tree() -> App:
    app = App(
        name="import",
        help="Make a bundle from weights saved by a method's published code.",
        help_epilogue="Example: offnormal import ganomaly --weights netG.pth",
        result_action="return_value",
    )
    for name, summary in _IMPORTABLE.items():
        example = f"Example: offnormal import {name} --weights FILE\nMore flags: --help-all"
        app.command(f"offnormal.cli.import_:{name}", name=name, help=summary, help_epilogue=example)
    return app


def __getattr__(name: str) -> Callable[..., int]:
    """Create the command of a detector on first use, so that only this detector is imported."""
    if name not in _IMPORTABLE:
        raise AttributeError(name)
    return _command_for(name)


def _command_for(name: str) -> Callable[..., int]:
    from offnormal.verbs.import_weights import import_config

    model = import_config(name)

    @takes_flags(model, heading=name)
    def command(*, options: BaseModel | None = None, config: Path | None = None, json: bool = False) -> int:
        """Make a bundle from weights saved by the published code; the network is derived from their shapes.

        Parameters
        ----------
        config
            YAML file with settings, named like the flags; flags win.
        json
            Print the result as one JSON object.
        """
        return _import(name, build(model, set_values(options), file=config, detector=name), json)

    return command


def _import(name: str, config: ImportConfig, json: bool) -> int:
    from offnormal.verbs.import_weights import import_run

    run = import_run(name, config)
    bundle = run.bundle
    if json:
        say_json({"run": run.path, "bundle": bundle.path, "hash": bundle.hash, "imported": bundle.card["imported"]})
        return 0
    spec, files = bundle.detector.input, ", ".join(bundle.card["imported"])
    size = f"{spec.size[0]}x{spec.size[1]} px"
    say(f"{name} from {files}: {size}, {'color' if spec.channels == 3 else 'gray'}")
    command = f"{program()} calibrate {shlex.quote(str(bundle.path))} --normal NORMAL_DATA"
    rows = [
        ("threshold", "none: scores have no verdicts"),
        ("bundle", Verbatim(bundle.path)),
        ("next", Verbatim(command)),
    ]
    for line in aligned(rows):
        say(line)
    return 0


command = _tree()
