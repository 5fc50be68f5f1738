"""offnormal calibrate BUNDLE --normal DIR, or --undo, or --use NUMBER."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.cli.show import Verbatim, aligned, program, progress_bar, say, say_json, warn_counts, warn_skipped
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import CalibrateConfig
from offnormal.errors import UsageError, score_text

if TYPE_CHECKING:
    from offnormal.bundle import Bundle
    from offnormal.calibration.history import Entry


@takes_flags(CalibrateConfig)
def command(
    bundle: Path,
    /,
    *,
    options: BaseModel | None = None,
    config: Path | None = None,
    undo: bool = False,
    use: int | None = None,
    json: bool = False,
) -> int:
    """Set the threshold of a bundle from other normal images or footage.

    Parameters
    ----------
    bundle
        Bundle, or run folder.
    config
        YAML file with settings, named like the flags; flags win.
    undo
        Undo the last --normal or --use: return to the calibration that applied before. Repeat it to go further back.
    use
        Return to the calibration of this number (see: offnormal list calibrations BUNDLE); --undo undoes it.
    json
        Print the result as one JSON object.
    """
    from offnormal.bundle import load
    from offnormal.data.unread import counts_as_json
    from offnormal.verbs.calibrate import calibrate_bundle

    if undo or use is not None:
        if set_values(options) or config is not None or (undo and use is not None):
            flag = "--undo" if undo else f"--use {use}"
            raise UsageError(f"{flag} returns to an earlier calibration and takes no other flags; drop them")
        return _return_to(load(bundle, calibrated=False), use, json=json)
    resolved = build(CalibrateConfig, set_values(options), file=config)
    loaded = load(bundle, calibrated=False)
    with progress_bar() as progress:
        result = calibrate_bundle(loaded, resolved, progress)
    calibration = result.calibration
    warn_skipped(result.skipped)
    warn_counts(len(calibration.contents), ("file", "files"), result.skipped)
    if json:
        say_json(
            {
                **calibration.to_json(),
                "bundle_path": result.path,
                "scores": len(calibration.scores),
                **counts_as_json(len(calibration.contents), result.skipped),
                "number": result.entry.number,
                "before": None if result.before is None else as_json(result.before),
                "worse": result.worse,
                "dry_run": resolved.dry_run,
            }
        )
        return 0
    for line in comparison(result.before, result.entry):
        say(line)
    rows = [("threshold", score_text(calibration.threshold)), ("guarantee", calibration.explanation)]
    if resolved.dry_run:
        rows.append(("bundle", "unchanged (--dry-run)"))
    else:
        next_step = f"{program()} predict {shlex.quote(str(result.path))} IMAGES_OR_VIDEOS"
        rows += [("bundle", Verbatim(result.path)), ("next", Verbatim(next_step))]
    for line in aligned(rows):
        say(line)
    return 0


def _return_to(bundle: Bundle, number: int | None, *, json: bool) -> int:
    """Make an earlier calibration current; None: the one before the current one."""
    before = bundle.history.current_entry
    if number is None:
        bundle.undo_calibration()
    else:
        bundle.use_calibration(number)
    now = bundle.history.current_entry
    assert now is not None
    if json:
        say_json({**as_json(now), "bundle_path": bundle.path, "before": None if before is None else as_json(before)})
        return 0
    for line in comparison(before, now):
        say(line)
    redo = "" if before is None else f"{program()} calibrate {shlex.quote(str(bundle.path))} --use {before.number}"
    for line in aligned([("guarantee", now.guarantee), ("bundle", Verbatim(bundle.path)), ("redo", Verbatim(redo))]):
        say(line)
    return 0


def comparison(before: Entry | None, now: Entry) -> Iterator[str]:
    """Two calibrations side by side."""
    from offnormal.calibration.history import side_by_side

    rows = [("", "before", "now"), *side_by_side(before, now)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, old, new in rows:
        yield f"{name:<{widths[0]}}  {old:<{widths[1]}}  {new}".rstrip()
    yield ""


def as_json(entry: Entry) -> dict[str, object]:
    """One calibration of the history as plain values."""
    from dataclasses import asdict

    return asdict(entry)
