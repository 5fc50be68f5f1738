"""offnormal benchmark: what a bundle costs, end to end and beside a fixed reference, all in one run.

The reference is the detector's backbone as its library makes it: eager, default memory format, batches of 32, the
whole trunk that is used. It does not change when our own backbone gets faster, so that neither does the yardstick.
Detector and reference take turns, so that a drifting machine touches both.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from offnormal.bundle import Bundle
from offnormal.config.score import BenchmarkConfig
from offnormal.data.batches import Batches
from offnormal.data.images import read_pixels, stack
from offnormal.data.loaders import ImageLoader
from offnormal.data.resolve import resolve_items
from offnormal.data.video_loader import VideoLoader
from offnormal.demo import generate
from offnormal.errors import OffnormalError
from offnormal.scoring import Scorer, choose_device
from offnormal.sources.paths import is_video, videos_in
from offnormal.types import InputSpec, Item

BATCHES = (1, 16)
REFERENCE_BATCHES = (1, 32)
_FPS = 25.0  # of clips made of pictures
_SINGLES = 10  # calls a round at batch 1; larger batches are called twice
_CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from offnormal.bundle import load
from offnormal.data.images import read_pixels, stack
from offnormal.scoring import Scorer, choose_device
bundle = load(sys.argv[1])
scorer = Scorer(bundle.detector, choose_device(sys.argv[2], int(sys.argv[3]) or None))
spec = bundle.detector.input
batch = stack([read_pixels(__import__("pathlib").Path(sys.argv[4]), spec)])
if spec.frames > 1:
    batch = batch[:, :, None].repeat(spec.frames, 2)
scorer.score(batch)
first = time.perf_counter() - start
scorer.score(batch.repeat(16, 0))
try:  # what getrusage says would include the parent's memory, which an exec on Linux hands down
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"first": first, "peak": peak}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds of one call on a batch."""

    batch: int
    p50_ms: float
    p95_ms: float

    @property
    def per_image_ms(self) -> float:
        """Median milliseconds an image."""
        return self.p50_ms / self.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Everything measured in one run."""

    detector: str
    device: str
    threads: int
    input: tuple[int, int]  # (H, W)
    images_per_s: float  # images or clips, from files to scores
    waiting_share: float  # of that time, spent waiting for decoded pictures
    latencies: list[Latency]  # from pixels in memory to numpy scores
    reference: list[Latency]  # of the plain backbone; empty when the detector has none
    ratios: dict[str, float]  # cost an image over that of the reference, median of the rounds
    peak_memory_mb: float  # of a process that loads the bundle and scores a batch of 16
    gpu_memory_mb: float | None  # highest allocation here, on a GPU
    bundle_mb: float
    start_up_s: float  # from starting the interpreter's work to the first score


def benchmark_bundle(bundle: Bundle, config: BenchmarkConfig) -> Benchmark:
    """Measure a saved bundle.

    Raises OffnormalError when it is not saved and DataError when there is no picture to read.
    """
    if bundle.path is None:
        raise OffnormalError("only a saved bundle can be measured: start-up and size are those of its files")
    device = choose_device(config.device, config.threads)
    scorer, spec = Scorer(bundle.detector, device), bundle.detector.input
    with tempfile.TemporaryDirectory() as work:
        videos = _videos(config.data) if config.data is not None else []
        pictures = _pictures(None if videos else config.data, Path(work))
        pixels = _pixels(pictures, spec)
        reference = bundle.detector.reference()
        own, other = _take_turns(scorer, reference, pixels, config.rounds)
        images_per_s, waiting = _from_files(scorer, _loader(pictures, videos, spec, config), config.images)
        child = _child(bundle.path, config, pictures[0])
    gpu = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return Benchmark(
        detector=bundle.detector.name,
        device=str(device),
        threads=torch.get_num_threads(),
        input=spec.size,
        images_per_s=images_per_s,
        waiting_share=waiting,
        latencies=[_latency(batch, np.concatenate(times)) for batch, times in own.items()],
        reference=[_latency(batch, np.concatenate(times)) for batch, times in other.items()],
        ratios=_ratios(own, other),
        peak_memory_mb=child["peak"] / 1e6,
        gpu_memory_mb=gpu,
        bundle_mb=sum(file.stat().st_size for file in bundle.path.iterdir()) / 1e6,
        start_up_s=child["first"],
    )


def _pictures(data: Path | None, work: Path) -> list[Path]:
    if data is None:
        generate(work / "parts", train=2, test_good=30, per_defect=0)
        data = work / "parts" / "test"
    return [item.path for item in resolve_items([data], kind="image")]


def _pixels(pictures: list[Path], spec: InputSpec) -> np.ndarray:
    """32 images (N, C, H, W), or as many clips (N, C, T, H, W) of which each shows one picture after the other."""
    read = [read_pixels(path, spec) for path in itertools.islice(itertools.cycle(pictures), 32)]
    if spec.frames == 1:
        return stack(read)
    clips = [[read[(start + k) % 32] for k in range(spec.frames)] for start in range(32)]
    return np.stack([stack(clip).swapaxes(0, 1) for clip in clips])


Times = dict[int, list[np.ndarray]]  # batch -> per round the seconds of each call


def _take_turns(scorer: Scorer, reference: nn.Module | None, pixels: np.ndarray, rounds: int) -> tuple[Times, Times]:
    own: Times = {batch: [] for batch in BATCHES}
    other: Times = {batch: [] for batch in REFERENCE_BATCHES} if reference is not None else {}
    plain = _plain(reference, scorer.device) if reference is not None else None
    for number in range(rounds + 1):  # the first warms up
        for batch, times in own.items():
            found = _timed(scorer.score, pixels[:batch], scorer.device)
            if number:
                times.append(found)
        for batch, times in other.items():
            assert plain is not None
            found = _timed(plain, pixels[:batch], scorer.device)
            if number:
                times.append(found)
    return own, other


def _plain(reference: nn.Module, device: torch.device) -> Callable[[np.ndarray], object]:
    module = reference.to(device)

    @torch.inference_mode()
    def call(pixels: np.ndarray) -> object:
        return module(torch.from_numpy(pixels).to(device))

    return call


def _timed(call: Callable[[np.ndarray], object], pixels: np.ndarray, device: torch.device) -> np.ndarray:
    seconds = []
    for _ in range(_SINGLES if len(pixels) == 1 else 2):
        start = time.perf_counter()
        call(pixels)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _latency(batch: int, seconds: np.ndarray) -> Latency:
    p50, p95 = np.percentile(seconds * 1e3, (50, 95))
    return Latency(batch=batch, p50_ms=float(p50), p95_ms=float(p95))


def _ratios(own: Times, other: Times) -> dict[str, float]:
    """Median over the rounds of cost an image over cost an image."""
    if not other:
        return {}
    pairs = {
        "batch 16 / reference at 32": (16, 32),
        "batch 1 / reference at 32": (1, 32),
        "batch 1 / reference at 1": (1, 1),
    }
    return {
        name: float(
            np.median(
                [np.median(a) / mine / (np.median(b) / theirs) for a, b in zip(own[mine], other[theirs], strict=True)]
            )
        )
        for name, (mine, theirs) in pairs.items()
    }


def _videos(data: Path) -> list[Item]:
    """The video files that were named or lie below a folder; none where there are only pictures."""
    found = [data] if is_video(data) else videos_in(data, recursive=True) if data.is_dir() else []
    return [Item(address=str(path), is_video=True, name=path.stem) for path in found]


def _loader(pictures: list[Path], videos: list[Item], spec: InputSpec, config: BenchmarkConfig) -> Batches:
    """So many images, or clips of videos; pictures make the frames of a video where clips are wanted."""
    if videos or spec.frames > 1:
        found = videos or [Item(address=str(pictures[0].parent), is_video=True, name="pictures")]
        fps = None if videos else _FPS  # which pictures do not have
        return VideoLoader(found, spec, batch_size=config.batch_size, fps=fps, workers=config.workers)
    items = [
        Item(address=str(path), name=str(path)) for path in itertools.islice(itertools.cycle(pictures), config.images)
    ]
    return ImageLoader(items, spec, batch_size=config.batch_size, on_error=config.on_error, workers=config.workers)


def _from_files(scorer: Scorer, loader: Batches, most: int) -> tuple[float, float]:
    """Images or clips a second from files to scores, and the share of that time spent waiting for decoded ones."""
    start = time.perf_counter()
    scored = 0
    for piece in scorer.score_batches(loader):
        scored += len(piece.samples)
        if scored >= most:
            break
    seconds = time.perf_counter() - start
    return scored / seconds, loader.waited_s / seconds


def _child(bundle: Path, config: BenchmarkConfig, picture: Path) -> dict[str, float]:
    """Start-up and peak memory, in a process of its own that has loaded nothing else."""
    command = [sys.executable, "-c", _CHILD, str(bundle), config.device, str(config.threads or 0), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OffnormalError(f"the process that measures start-up failed: {done.stderr.strip().splitlines()[-1:]}")
    result: dict[str, float] = json.loads(done.stdout)
    return result
