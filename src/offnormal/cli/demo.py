"""offnormal demo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number


def command(
    *,
    out: Path = Path("runs"),
    seed: Annotated[int, Parameter(validator=Number(gte=0, lt=2**31))] = 0,
    device: Annotated[str, Parameter(metavar="DEVICE")] = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Generate a small inspection dataset, then fit, evaluate, and report on it.

    Parameters
    ----------
    out
        Folder for the generated dataset and the run.
    seed
        Random seed of the dataset and of the fit.
    device
        auto, cpu, cuda, or cuda:N.
    json
        Print the result as one JSON object.
    """
    from offnormal.cli.evaluate import as_text
    from offnormal.cli.show import program, progress_bar, say, say_json
    from offnormal.evaluation.evaluate import metrics_json
    from offnormal.verbs.demo import demonstrate

    with progress_bar() as progress:
        demo = demonstrate(out, seed=seed, device=device, progress=progress)
    run = demo.run
    if json:
        say_json({"run": run.path, "data": demo.data, **metrics_json(demo.evaluation)})
        return 0
    say(f"{run.bundle.card['data']['images']} normal training images in {demo.data}")
    for line in as_text(demo.evaluation, run.path / "report.html"):
        say(line)
    scratched = demo.data / "test" / "scratch"
    words = ["predict", str(run.path / "bundle"), str(scratched), "--overlays", str(out / "overlays")]
    say()
    say("next: open the report, then score single images")
    say(f"  {program()} {shlex.join(words)}")
    return 0
