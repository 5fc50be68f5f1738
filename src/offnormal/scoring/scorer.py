"""Detectors over batches: torch goes in, numpy comes out, and torch ends here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from offnormal.data.batches import Batch
from offnormal.detectors.base import Detector, EmbeddedDetector, StatefulDetector
from offnormal.detectors.parts.stream_states import ParallelStreams, SequentialStreams
from offnormal.errors import ConfigError, OffnormalError
from offnormal.types import Output, Sample, Scores

_ON_A_PROCESSOR = ("can't allocate memory", "not enough memory")  # of the RuntimeError that torch's allocator raises


def choose_device(name: str = "auto", threads: int | None = None) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:1` -> a device that exists; ConfigError otherwise.

    threads: how many compute on the processor from now on, in this whole process; None leaves it as it is.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda":  # thresholds must mean the same wherever scores are computed
        torch.backends.cudnn.allow_tf32 = False
    return device


@contextlib.contextmanager
def within_memory(what: str, advice: str, kind: type[OffnormalError] = OffnormalError) -> Iterator[None]:
    """Turn what torch raises when memory runs out into an error of `kind` that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError, too
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in _ON_A_PROCESSOR):
            raise
        place = "of the GPU" if isinstance(error, torch.OutOfMemoryError) else "of this machine"
        raise kind(f"{what} does not fit into the memory {place}: {advice}") from None


def to_scores(output: Output) -> Scores:
    """(N, K) outputs -> N * K rows, the K scores of an image or clip one after the other, as numpy on the CPU."""
    maps = None if output.map is None else output.map.flatten(0, 1).float().cpu().numpy()
    terms = {name: _kept(term.flatten()) for name, term in output.terms.items()}
    rows = (None if found is None else _kept(found) for found in (output.recalled, output.embedding, output.latent))
    return Scores(_kept(output.score.flatten()), maps, terms, *rows)


def _kept(found: Tensor) -> np.ndarray:
    """Numbers that live on while maps come and go, in memory of numpy's: torch's lies between the maps, whose place
    could then not be used again, so that memory grew with every batch."""
    return np.array(found.float().cpu().numpy())


def concatenate(pieces: Iterable[Scores]) -> Scores:
    """Rows of several pieces one after the other."""
    found = list(pieces)
    maps = [piece.map for piece in found if piece.map is not None]
    return Scores(
        np.concatenate([piece.score for piece in found]) if found else np.zeros(0, np.float32),
        np.concatenate(maps) if maps else None,
        {name: np.concatenate([piece.terms[name] for piece in found]) for name in (found[0].terms if found else ())},
        *(_joined([getattr(piece, name) for piece in found]) for name in ("recalled", "embedding", "latent")),
    )


def _joined(pieces: Iterable[np.ndarray | None]) -> np.ndarray | None:
    known = [piece for piece in pieces if piece is not None]
    return np.concatenate(known) if known else None


def map_peaks(scores: Scores) -> np.ndarray:
    """(R,) highest value of each map; the scores themselves where there are no maps."""
    return scores.score if scores.map is None else scores.map.max((1, 2))


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one batch beside the samples and masks they belong to."""

    scores: Scores
    samples: list[Sample] = field(default_factory=list)
    masks: np.ndarray | None = None
    frames: np.ndarray | None = None  # (N, K) as in Batch


class EmbeddedScorer:
    """A fitted detector over batches of embeddings (N, E), as its training gives them."""

    def __init__(self, detector: EmbeddedDetector, device: torch.device) -> None:
        detector.require_fitted()
        self.device = device
        self.detector = detector.to(device).eval()

    @torch.inference_mode()
    def over(self, batches: Iterable[Batch]) -> Iterator[Scored]:
        """Score batch after batch."""
        for batch in batches:
            scores = to_scores(self.detector.score_embedding(torch.as_tensor(batch.pixels, device=self.device)))
            yield Scored(scores, batch.samples, None, batch.frames)


class Scorer:
    """A fitted detector on a device, from pixels to numpy.

    A stateful detector that learns on while it scores sees what `over` is given in order, each video with a state of
    its own; one that carries its state over goes on with it in the next call.
    """

    def __init__(self, detector: Detector, device: str | torch.device = "cpu") -> None:
        detector.require_fitted()
        self.device = choose_device(device) if isinstance(device, str) else device
        self.detector = detector.to(self.device).eval()
        learner = detector if isinstance(detector, StatefulDetector) and detector.updates_online else None
        self._order = None if learner is None else SequentialStreams(learner)
        self._streams = None if learner is None else ParallelStreams(learner)

    def score(self, pixels: np.ndarray) -> Scores:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> Scores with N * K rows, see `to_scores`; without a state."""
        return self._scores(pixels, self.detector)

    def score_streams(self, pixels: np.ndarray, streams: Sequence[Hashable]) -> Scores:
        """`score` of pixels of many live streams at once, those of one stream in order; streams: the one of each row.

        A detector that learns on keeps a state for each stream, which goes on from call to call.
        """
        if self._streams is None:
            return self.score(pixels)
        return self._scores(pixels, partial(self._streams.score, streams=streams))

    @torch.inference_mode()
    def _scores(self, pixels: np.ndarray, look: Callable[[Tensor], Output]) -> Scores:
        spec = self.detector.input
        expected = (spec.channels, *([spec.frames] if spec.frames > 1 else []), *spec.size)
        if tuple(pixels.shape[1:]) != expected:
            raise ConfigError(f"pixels of shape {tuple(pixels.shape)}: expected (N, {', '.join(map(str, expected))})")
        with within_memory(f"a batch of {len(pixels)} images", "lower --batch-size"):
            scores = to_scores(look(self._tensor(pixels)))
        if not np.isfinite(scores.score).all():
            raise OffnormalError(
                f"{int((~np.isfinite(scores.score)).sum())} of {len(scores)} scores are not finite: the detector was "
                "fitted on images that hardly differ, or is damaged; fit it again"
            )
        return scores

    @torch.inference_mode()
    def reconstruct(self, pixels: np.ndarray) -> np.ndarray | None:
        """Pixels in 0-1 -> what the detector makes of them, (N, C, H, W) in 0-1; None: it does not say.

        Of clips (N, C, T, H, W) it is the last frame.
        """
        made = self.detector.reconstruct(self._tensor(pixels))
        return None if made is None else made.float().clamp(0, 1).cpu().numpy()

    @torch.inference_mode()
    def recalled_items(self, pixels: np.ndarray) -> np.ndarray | None:
        """Pixels -> number (N, h, w) of the memory item recalled at each place; None: the detector has no memory."""
        found = self.detector.recalled_items(self._tensor(pixels))
        return None if found is None else found.cpu().numpy()

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        return torch.as_tensor(pixels, device=self.device)

    def over(self, batches: Iterable[Batch]) -> Iterator[Scored]:
        """Score batch after batch; nothing is kept but the state of a detector that learns on."""
        if self._order is not None:
            self._order.restart()
        for batch in batches:
            look: Callable[[Tensor], Output] = self.detector
            if self._order is not None:
                look = partial(self._order.score, videos=[sample.item.path for sample in batch.samples])
            yield Scored(self._scores(batch.pixels, look), batch.samples, batch.masks, batch.frames)
