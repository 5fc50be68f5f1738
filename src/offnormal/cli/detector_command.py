"""Commands whose flags are the configuration of a verb for one detector: `fit padim`, `import mnad`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags

_Model = TypeVar("_Model", bound=BaseModel)
Work = Callable[[str, type[_Model], BaseModel | None, Path | None, bool], int]
"""Of a detector, a configuration, flags, a file, and whether to print JSON the exit code."""
_FLAGS = """

Parameters
----------
config
    YAML file with the same keys; flags win.
json
    Print the result as one JSON object.
"""


def detector_command(name: str, model: type[_Model], work: Work[_Model], summary: str) -> Callable[..., int]:
    """The command of a detector, whose options stand beside those of the verb.

    model: the verb's configuration with the detector's options under `detector`; summary: first line of its help.
    """

    def command(*, options: BaseModel | None = None, config: Path | None = None, json: bool = False) -> int:
        return work(name, model, options, config, json)

    command.__doc__ = summary + _FLAGS
    return takes_flags(model, heading=name)(command)
