"""A bundle fitted on a small yard, and videos of it with an anomaly."""

from __future__ import annotations

from pathlib import Path

from offnormal.config.layers import build
from offnormal.verbs.fit import fit_config, fit_run
from tests.footage import FPS, film, write_footage
from tests.video_files import write_video

ODD = (25, 45)  # frames of `odd.mp4` with the square: seconds 2.5 to 4.5
ODD_FRAMES = 80
QUICK_RULES = {"min_duration": 0.3, "merge_gap": 0.5, "max_gap": 2.0, "incident_gap": 0}
QUICK_RECORD = {"pre_roll_s": 0.5, "post_roll_s": 0.5}


def make_yard(root: Path) -> Path:
    """Write `bundle/` of the fastest detector with a map, `odd.mp4`, and `calm.mp4`."""
    write_footage(root / "data", labels=False)
    options = {"data": root / "data", "out": root / "runs", "size": 64, "threads": 1}
    (run,) = fit_run("pixel_gaussian", build(fit_config("pixel_gaussian"), options, environment={}))
    run.bundle.save(root / "bundle")
    write_video(root / "odd.mp4", film(9, anomaly=ODD, frames=ODD_FRAMES), fps=FPS, gop=5)
    write_video(root / "calm.mp4", film(5, frames=600), fps=FPS)
    return root
