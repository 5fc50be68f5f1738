"""offnormal calibrate BUNDLE --normal DIR."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import CalibrateConfig


@takes_flags(CalibrateConfig)
def command(
    bundle: Path,
    /,
    *,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Set the threshold of a bundle from other normal images or footage.

    Parameters
    ----------
    bundle
        Bundle, or run folder.
    config
        YAML file with settings, named like the flags; flags win.
    json
        Print the result as one JSON object.
    """
    from offnormal.bundle import load
    from offnormal.cli.show import Verbatim, aligned, program, progress_bar, say, say_json, warn_skipped
    from offnormal.verbs.calibrate import calibrate_bundle

    resolved = build(CalibrateConfig, set_values(options), file=config)
    loaded = load(bundle, calibrated=False)
    with progress_bar() as progress:
        calibration, skipped = calibrate_bundle(loaded, resolved, progress)
    warn_skipped(skipped)
    skipped_files = [{"path": bad.path, "reason": bad.reason} for bad in skipped]
    if json:
        say_json(
            {
                **calibration.to_json(),
                "bundle_path": loaded.path,
                "scores": len(calibration.scores),
                "skipped": skipped_files,
            }
        )
    else:
        rows = [("threshold", f"{calibration.threshold:.6g}"), ("guarantee", calibration.explanation)]
        next_step = f"{program()} predict {shlex.quote(str(loaded.path))} IMAGES_OR_VIDEOS"
        for line in aligned([*rows, ("bundle", Verbatim(loaded.path)), ("next", Verbatim(next_step))]):
            say(line)
    return 0
