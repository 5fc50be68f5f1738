"""offnormal benchmark: the costs of a bundle, end to end and relative to a fixed reference in the same run.

The reference is the detector's backbone as its library builds it: eager mode, default memory format, batches of 32,
and only the layers in use. It does not change when our own backbone gets faster. Detector and reference alternate,
so that a drift of the machine affects both.
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
from offnormal.data.dataset import Skipped
from offnormal.data.images import read_pixels, stack
from offnormal.data.loaders import ImageLoader
from offnormal.data.resolve import resolve_items
from offnormal.data.unread import list_unread
from offnormal.data.video_loader import VideoLoader
from offnormal.demo import generate
from offnormal.errors import OffnormalError
from offnormal.scoring import Scorer, choose_device
from offnormal.sources.paths import is_video, videos_in
from offnormal.types import InputSpec, Item

BATCHES = (1, 16)
REFERENCE_BATCHES = (1, 32)
_FPS = 25.0  # of clips made of images
_SINGLES = 10  # calls per round at batch 1; larger batches run twice
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
try:  # getrusage on Linux would include the parent's memory, inherited through exec
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"first": first, "peak": peak}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency of one call on a batch, in milliseconds."""

    batch: int
    p50_ms: float
    p95_ms: float

    @property
    def per_image_ms(self) -> float:
        """Median milliseconds per image."""
        return self.p50_ms / self.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The results of one benchmark."""

    detector: str
    device: str
    threads: int
    input: tuple[int, int]  # (H, W)
    images_per_s: float  # images or clips, from files to scores
    waiting_share: float  # share of that time spent waiting for decoded images
    latencies: list[Latency]  # from pixels in memory to numpy scores
    reference: list[Latency]  # of the plain backbone; empty if the detector has none
    ratios: dict[str, float]  # cost per image relative to the reference, median of the rounds
    peak_memory_mb: float  # of a process that loads the bundle and scores a batch of 16
    gpu_memory_mb: float | None  # peak allocation on a GPU
    bundle_mb: float
    start_up_s: float  # from the first import to the first score
    files: int  # images or videos that were read
    skipped: list[Skipped]  # what the search of the folder did not read


def benchmark_bundle(bundle: Bundle, config: BenchmarkConfig) -> Benchmark:
    """Benchmark a saved bundle.

    Raises OffnormalError if it is not saved, and DataError if there is no image to read.
    """
    if bundle.path is None:
        raise OffnormalError("this bundle is not saved, but startup time and size need its files: save it first")
    device = choose_device(config.device, config.threads)
    scorer, spec = Scorer(bundle.detector, device), bundle.detector.input
    with tempfile.TemporaryDirectory() as work:
        videos = _videos(config.data) if config.data is not None else []
        images = _image_paths(None if videos else config.data, Path(work))
        pixels = _pixels(images, spec)
        reference = bundle.detector.reference()
        detector_times, reference_times = _alternate(scorer, reference, pixels, config.rounds)
        images_per_s, waiting = _throughput(scorer, _loader(images, videos, spec, config), config.images)
        child = _run_child(bundle.path, config, images[0])
    gpu = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return Benchmark(
        detector=bundle.detector.name,
        device=str(device),
        threads=torch.get_num_threads(),
        input=spec.size,
        images_per_s=images_per_s,
        waiting_share=waiting,
        latencies=[_latency(batch, np.concatenate(times)) for batch, times in detector_times.items()],
        reference=[_latency(batch, np.concatenate(times)) for batch, times in reference_times.items()],
        ratios=_ratios(detector_times, reference_times),
        peak_memory_mb=child["peak"] / 1e6,
        gpu_memory_mb=gpu,
        bundle_mb=sum(file.stat().st_size for file in bundle.path.iterdir()) / 1e6,
        start_up_s=child["first"],
        files=len(videos or images),
        skipped=[]
        if config.data is None or not config.data.is_dir()
        else list_unread([config.data], [item.path for item in videos] or images),
    )


def _image_paths(data: Path | None, work: Path) -> list[Path]:
    if data is None:
        generate(work / "parts", train=2, test_good=30, per_defect=0)
        data = work / "parts" / "test"
    return [item.path for item in resolve_items([data], kind="image")]


def _pixels(images: list[Path], spec: InputSpec) -> np.ndarray:
    """Return 32 images (N, C, H, W), or 32 clips (N, C, T, H, W) with one image after the other as frames."""
    decoded = [read_pixels(path, spec) for path in itertools.islice(itertools.cycle(images), 32)]
    if spec.frames == 1:
        return stack(decoded)
    clips = [[decoded[(start + k) % 32] for k in range(spec.frames)] for start in range(32)]
    return np.stack([stack(clip).swapaxes(0, 1) for clip in clips])


Times = dict[int, list[np.ndarray]]  # batch -> seconds of each call, per round


def _alternate(scorer: Scorer, reference: nn.Module | None, pixels: np.ndarray, rounds: int) -> tuple[Times, Times]:
    detector_times: Times = {batch: [] for batch in BATCHES}
    reference_times: Times = {batch: [] for batch in REFERENCE_BATCHES} if reference is not None else {}
    call_reference = _callable(reference, scorer.device) if reference is not None else None
    for number in range(rounds + 1):  # the first warms up
        for batch, times in detector_times.items():
            seconds = _timed(scorer.score, pixels[:batch], scorer.device)
            if number:
                times.append(seconds)
        for batch, times in reference_times.items():
            assert call_reference is not None
            seconds = _timed(call_reference, pixels[:batch], scorer.device)
            if number:
                times.append(seconds)
    return detector_times, reference_times


def _callable(reference: nn.Module, device: torch.device) -> Callable[[np.ndarray], object]:
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


def _ratios(detector: Times, reference: Times) -> dict[str, float]:
    """Return the ratios of the cost per image, median over the rounds."""
    if not reference:
        return {}
    pairs = {
        "batch 16 / reference at 32": (16, 32),
        "batch 1 / reference at 32": (1, 32),
        "batch 1 / reference at 1": (1, 1),
    }
    return {
        name: float(
            np.median(
                [
                    np.median(a) / size / (np.median(b) / reference_size)
                    for a, b in zip(detector[size], reference[reference_size], strict=True)
                ]
            )
        )
        for name, (size, reference_size) in pairs.items()
    }


def _videos(data: Path) -> list[Item]:
    """List a video file, or the videos below a folder; empty if there are only images."""
    paths = [data] if is_video(data) else videos_in(data, recursive=True) if data.is_dir() else []
    return [Item(address=str(path), is_video=True, name=path.stem) for path in paths]


def _loader(images: list[Path], videos: list[Item], spec: InputSpec, config: BenchmarkConfig) -> Batches:
    """Open a loader of `config.images` images, or of clips; without videos, images serve as frames."""
    if videos or spec.frames > 1:
        items = videos or [Item(address=str(images[0].parent), is_video=True, name="images")]
        fps = None if videos else _FPS
        return VideoLoader(items, spec, batch_size=config.batch_size, fps=fps, workers=config.workers)
    items = [
        Item(address=str(path), name=str(path)) for path in itertools.islice(itertools.cycle(images), config.images)
    ]
    return ImageLoader(items, spec, batch_size=config.batch_size, on_error=config.on_error, workers=config.workers)


def _throughput(scorer: Scorer, loader: Batches, limit: int) -> tuple[float, float]:
    """Return images or clips per second from files to scores, and the share of time spent waiting for decoding."""
    start = time.perf_counter()
    scored = 0
    for batch in scorer.score_batches(loader):
        scored += len(batch.samples)
        if scored >= limit:
            break
    seconds = time.perf_counter() - start
    return scored / seconds, loader.waited_s / seconds


def _run_child(bundle: Path, config: BenchmarkConfig, image: Path) -> dict[str, float]:
    """Measure startup time and peak memory in a fresh process."""
    command = [sys.executable, "-c", _CHILD, str(bundle), config.device, str(config.threads or 0), str(image)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise OffnormalError(f"the startup process failed: {process.stderr.strip().splitlines()[-1:]}")
    result: dict[str, float] = json.loads(process.stdout)
    return result
