"""offnormal demo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def command(
    *,
    out: Path = Path("runs"),
    seed: int = 0,
    device: str = "auto",
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
        made = demonstrate(out, seed=seed, device=device, progress=progress)
    if json:
        say_json({"run": made.run.path, "data": made.data, **metrics_json(made.evaluation)})
        return 0
    card = made.run.bundle.card
    say(f"generated       {made.data}: {card['data']['images']} normal training images")
    for line in as_text(made.evaluation, made.run.path / "report.html"):
        say(line)
    say(f"bundle          {made.run.path / 'bundle'}")
    say()
    say("try it on single images:")
    bundle, pictures = made.run.path / "bundle", made.data / "test" / "scratch"
    words = ["predict", str(bundle), str(pictures), "--overlays", str(out / "overlays")]
    say(f"  {program()} {shlex.join(words)}")
    return 0
