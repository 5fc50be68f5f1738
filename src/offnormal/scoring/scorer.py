"""Applies a detector to batches and returns numpy arrays; code above this module does not use torch."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from offnormal.data.batches import Batch
from offnormal.detectors.base import Detector, EmbeddedDetector, StatefulDetector
from offnormal.detectors.parts.stream_states import ParallelStreams, SequentialStreams
from offnormal.errors import ConfigError, OffnormalError, counted
from offnormal.types import Output, Sample, Scores

log = logging.getLogger(__name__)
_CPU_MEMORY_ERRORS = ("can't allocate memory", "not enough memory")  # in the RuntimeError of torch's CPU allocator


def choose_device(name: str = "auto", threads: int | None = None) -> torch.device:
    """Return the device named `auto`, `cpu`, `cuda`, or `cuda:1`; ConfigError if it does not exist.

    threads: set the number of CPU threads for the whole process; None: do not change it.
    """
    if threads is not None:
        torch.set_num_threads(usable_threads(threads))
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name!r}: expected auto, cpu, cuda, or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: this machine has {counted(torch.cuda.device_count(), 'CUDA device')}")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda, or cuda:N")
    if device.type == "cuda":  # scores must agree with those of a CPU, or a threshold changes its meaning
        torch.backends.cudnn.allow_tf32 = False
    return device


def usable_threads(threads: int) -> int:
    """Return a number of CPU threads that this machine can start: more would end the program inside torch."""
    most = max(64, os.cpu_count() or 1)
    if threads > most:
        log.warning(
            "threads: %d set, %d used: this machine has %s", threads, most, counted(os.cpu_count() or 1, "core")
        )
    return min(threads, most)


@contextlib.contextmanager
def explain_memory_error(subject: str, advice: str, kind: type[OffnormalError] = OffnormalError) -> Iterator[None]:
    """Convert an out-of-memory error of torch to an error of type `kind` with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError, too
        is_memory_error = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory_error and not any(words in str(error) for words in _CPU_MEMORY_ERRORS):
            raise
        memory = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "the memory of this machine"
        raise kind(f"{subject} does not fit into {memory}: {advice}") from None


def to_scores(output: Output) -> Scores:
    """(N, K) outputs -> N * K rows as numpy on the CPU; the K scores of an image or clip are consecutive rows."""
    maps = None if output.map is None else output.map.flatten(0, 1).float().cpu().numpy()
    terms = {name: _copy(term.flatten()) for name, term in output.terms.items()}
    optional = (output.recalled, output.embedding, output.latent)
    return Scores(_copy(output.score.flatten()), maps, terms, *(None if x is None else _copy(x) for x in optional))


def _copy(tensor: Tensor) -> np.ndarray:
    """Copy long-lived numbers to numpy memory: in torch's allocator they fragment the memory between the maps, which
    then grows with every batch."""
    return np.array(tensor.float().cpu().numpy())


def concatenate(pieces: Iterable[Scores]) -> Scores:
    """Concatenate the rows of several scores."""
    parts = list(pieces)
    maps = [part.map for part in parts if part.map is not None]
    return Scores(
        np.concatenate([part.score for part in parts]) if parts else np.zeros(0, np.float32),
        np.concatenate(maps) if maps else None,
        {name: np.concatenate([part.terms[name] for part in parts]) for name in (parts[0].terms if parts else ())},
        *(_concatenate_arrays([getattr(part, name) for part in parts]) for name in ("recalled", "embedding", "latent")),
    )


def _concatenate_arrays(pieces: Iterable[np.ndarray | None]) -> np.ndarray | None:
    arrays = [piece for piece in pieces if piece is not None]
    return np.concatenate(arrays) if arrays else None


def map_peaks(scores: Scores) -> np.ndarray:
    """(R,) maximum of each map; the scores themselves if there are no maps."""
    return scores.score if scores.map is None else scores.map.max((1, 2))


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """The scores of one batch, with its samples and masks."""

    scores: Scores
    samples: list[Sample] = field(default_factory=list)
    masks: np.ndarray | None = None
    frames: np.ndarray | None = None  # (N, K) as in Batch


class EmbeddedScorer:
    """Scores batches of embeddings (N, E) with a fitted detector."""

    def __init__(self, detector: EmbeddedDetector, device: torch.device) -> None:
        detector.require_fitted()
        self.device = device
        self.detector = detector.to(device).eval()

    @torch.inference_mode()
    def score_batches(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Score one batch after the other."""
        for batch in batches:
            scores = to_scores(self.detector.score_embedding(torch.as_tensor(batch.pixels, device=self.device)))
            yield ScoredBatch(scores, batch.samples, None, batch.frames)


class Scorer:
    """Scores pixels with a fitted detector on a device; returns numpy arrays.

    A detector with online updates scores the batches of `score_batches` in order, and keeps a separate state for each
    video. A detector that carries its state over continues with it in the next call.
    """

    def __init__(self, detector: Detector, device: str | torch.device = "cpu") -> None:
        detector.require_fitted()
        self.device = choose_device(device) if isinstance(device, str) else device
        self.detector = detector.to(self.device).eval()
        learner = detector if isinstance(detector, StatefulDetector) and detector.updates_online else None
        self._order = None if learner is None else SequentialStreams(learner)
        self._streams = None if learner is None else ParallelStreams(learner)

    def score(self, pixels: np.ndarray) -> Scores:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> N * K rows as of `to_scores`; without online update."""
        return self._scores(pixels, self.detector)

    def score_streams(self, pixels: np.ndarray, streams: Sequence[Hashable]) -> Scores:
        """Score pixels of several live streams; rows of one stream are in order. streams: the stream of each row.

        A detector with online updates keeps a separate state for each stream across calls.
        """
        if self._streams is None:
            return self.score(pixels)
        return self._scores(pixels, partial(self._streams.score, streams=streams))

    @torch.inference_mode()
    def _scores(self, pixels: np.ndarray, forward: Callable[[Tensor], Output]) -> Scores:
        spec = self.detector.input
        expected = (spec.channels, *([spec.frames] if spec.frames > 1 else []), *spec.size)
        if tuple(pixels.shape[1:]) != expected:
            raise ConfigError(f"pixels of shape {tuple(pixels.shape)}: expected (N, {', '.join(map(str, expected))})")
        with explain_memory_error(f"a batch of {len(pixels)} images", "lower --batch-size"):
            scores = to_scores(forward(self._tensor(pixels)))
        if not np.isfinite(scores.score).all():
            raise OffnormalError(
                f"{int((~np.isfinite(scores.score)).sum())} of {len(scores)} scores are not finite: the training "
                "images of the detector are almost identical, or it is damaged; fit it again"
            )
        return scores

    @torch.inference_mode()
    def reconstruct(self, pixels: np.ndarray) -> np.ndarray | None:
        """Pixels in 0-1 -> the detector's reconstruction (N, C, H, W) in 0-1; None: it does not reconstruct.

        For clips (N, C, T, H, W) the reconstruction is that of the last frame.
        """
        output = self.detector.reconstruct(self._tensor(pixels))
        return None if output is None else output.float().clamp(0, 1).cpu().numpy()

    @torch.inference_mode()
    def recalled_items(self, pixels: np.ndarray) -> np.ndarray | None:
        """Pixels -> index (N, h, w) of the memory item recalled at each position; None: the detector has no memory."""
        indices = self.detector.recalled_items(self._tensor(pixels))
        return None if indices is None else indices.cpu().numpy()

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        return torch.as_tensor(pixels, device=self.device)

    def score_batches(self, batches: Iterable[Batch]) -> Iterator[ScoredBatch]:
        """Score one batch after the other; only the state of a detector with online updates is kept."""
        if self._order is not None:
            self._order.restart()
        for batch in batches:
            forward: Callable[[Tensor], Output] = self.detector
            if self._order is not None:
                forward = partial(self._order.score, videos=[sample.item.path for sample in batch.samples])
            yield ScoredBatch(self._scores(batch.pixels, forward), batch.samples, batch.masks, batch.frames)
