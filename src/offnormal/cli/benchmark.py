"""offnormal benchmark BUNDLE."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.cli.show import aligned, say, say_json, warn_counts, warn_skipped
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
    """Measure the speed, memory, size, and startup time of a bundle, next to its plain backbone in the same run.

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
    from offnormal.data.unread import counts_as_json
    from offnormal.verbs.benchmark import benchmark_bundle

    resolved = build(BenchmarkConfig, set_values(options), file=config)
    result = benchmark_bundle(load(bundle), resolved)
    warn_skipped(result.skipped)
    if resolved.data is not None:
        warn_counts(result.files, ("file", "files"), result.skipped)
    if json:
        say_json({**asdict(result), **counts_as_json(result.files, result.skipped)})
    else:
        for line in as_text(result):
            say(line)
    return 0


def as_text(benchmark: Benchmark) -> list[str]:
    """The figures as aligned lines."""
    from offnormal.errors import counted, rounded

    height, width = benchmark.input
    threads = counted(benchmark.threads, "thread", "threads")
    waiting = f"{100 * benchmark.waiting_share:.0f} % of the time spent waiting for images"
    rows = [("from files", f"{benchmark.images_per_s:.1f} images/s, {waiting}")]
    for kind, latencies in (("detector", benchmark.latencies), ("backbone alone", benchmark.reference)):
        for row in latencies:
            times = f"p50 {row.p50_ms:.1f} ms, p95 {row.p95_ms:.1f} ms, {row.per_image_ms:.2f} ms per image"
            rows.append((f"{kind}, batch {row.batch}", times))
    rows += [(f"ratio, {name}", f"{ratio:.2f} per image") for name, ratio in benchmark.ratios.items()]
    rows.append(("peak memory", f"{benchmark.peak_memory_mb:.0f} MB in batches of 16"))
    if benchmark.gpu_memory_mb is not None:
        rows.append(("peak GPU memory", f"{benchmark.gpu_memory_mb:.0f} MB"))
    rows.append(("bundle size", f"{rounded(benchmark.bundle_mb, 2)} MB"))
    rows.append(("startup", f"{benchmark.start_up_s:.1f} s to the first score"))
    title = f"{benchmark.detector}, {height}x{width} px, on {benchmark.device}, {threads}"
    return [title, *aligned(rows)]
