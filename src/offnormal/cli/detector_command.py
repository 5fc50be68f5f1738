"""Commands whose flags are the configuration of a verb for one detector: `fit padim`, `import mnad`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

Work = Callable[[str, Any, Any, Path | None, bool], int]  # detector, configuration, flags, file, json -> exit code
_FLAGS = """

Parameters
----------
config
    YAML file with the same keys; flags win.
json
    Print the result as one JSON object.
"""


def detector_command(name: str, model: Any, work: Work, summary: str) -> Callable[..., int]:
    """The command of a detector, whose options stand beside those of the verb.

    model: the verb's configuration with the detector's options under `detector`; summary: first line of its help.
    """
    model.model_fields["detector"].metadata.append(Parameter(name="*"))

    def command(*, options: Any = None, config: Path | None = None, json: bool = False) -> int:
        return work(name, model, options, config, json)

    command.__doc__ = summary + _FLAGS
    command.__annotations__.update(
        options=Annotated[model | None, Parameter(name="*")],
        config=Path | None,
        json=bool,
    )
    return command
