"""offnormal calibrate BUNDLE --normals DIR."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from offnormal.config import CalibrateConfig
from offnormal.config_layers import build, given_flags


def command(
    bundle: Path,
    /,
    *,
    options: Annotated[CalibrateConfig | None, Parameter(name="*")] = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Set a bundle's threshold from normal images that it has not learnt from.

    Parameters
    ----------
    bundle
        Bundle, or run folder with one.
    config
        YAML file with the same keys; flags win.
    json
        Print the result as one JSON object.
    """
    from offnormal.bundle import load
    from offnormal.cli.show import progress_bar, say, say_json, warn_skipped
    from offnormal.verbs.calibrate import calibrate_bundle

    resolved = build(CalibrateConfig, given_flags(options), file=config)
    loaded = load(bundle, calibrated=False)
    with progress_bar() as progress:
        calibration, skipped = calibrate_bundle(loaded, resolved, progress)
    warn_skipped(skipped)
    left_out = [{"path": bad.path, "reason": bad.reason} for bad in skipped]
    if json:
        say_json(
            {
                **calibration.to_json(),
                "bundle_path": loaded.path,
                "scores": len(calibration.scores),
                "skipped": left_out,
            }
        )
    else:
        say(f"threshold    {calibration.threshold:.6g}")
        say(f"promise      {calibration.explanation}")
        say(f"bundle       {loaded.path}")
    return 0
