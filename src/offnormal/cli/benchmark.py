"""offnormal benchmark BUNDLE."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import BenchmarkConfig

if TYPE_CHECKING:
    from offnormal.verbs.benchmark import Benchmark


@takes_flags(BenchmarkConfig)
def command(
    bundle: Path,
    /,
    *,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Measure the speed, memory, size, and start-up time of a bundle, next to its plain backbone in the same run.

    Parameters
    ----------
    bundle
        Bundle, or run folder.
    config
        YAML file with the same keys; flags win.
    json
        Print the result as one JSON object.
    """
    from offnormal.bundle import load
    from offnormal.cli.show import say, say_json
    from offnormal.verbs.benchmark import benchmark_bundle

    resolved = build(BenchmarkConfig, set_values(options), file=config)
    found = benchmark_bundle(load(bundle), resolved)
    if json:
        say_json(asdict(found))
    else:
        for line in as_text(found):
            say(line)
    return 0


def as_text(found: Benchmark) -> list[str]:
    """The figures, line by line."""
    height, width = found.input
    lines = [
        f"{found.detector} at {height} x {width} px on {found.device}, {found.threads} threads",
        f"from files     {found.images_per_s:.1f} images/s, {found.waiting_share:.0%} of the time waiting for pictures",
    ]
    for kind, rows in (("batch", found.latencies), ("reference", found.reference)):
        for row in rows:
            name = f"{kind} {row.batch}"
            lines.append(
                f"{name:<14} p50 {row.p50_ms:.1f} ms, p95 {row.p95_ms:.1f} ms, {row.per_image_ms:.2f} ms an image"
            )
    lines += [f"ratio          {ratio:.2f}  {name}, an image" for name, ratio in found.ratios.items()]
    lines.append(f"memory         {found.peak_memory_mb:.0f} MB at most, scoring batches of 16")
    if found.gpu_memory_mb is not None:
        lines.append(f"GPU memory     {found.gpu_memory_mb:.0f} MB at most")
    return [
        *lines,
        f"bundle         {found.bundle_mb:.1f} MB",
        f"start-up       {found.start_up_s:.1f} s to the first score",
    ]
