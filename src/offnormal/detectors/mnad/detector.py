"""MNAD: memory-guided normality (Park, Noh, and Ham, CVPR 2020, arXiv 2003.13228); predicts or reconstructs frames.

A U-Net predicts a frame from the frames before it, or reconstructs it, through a small memory of normal features
(section 3.1). Frames that it cannot predict or recall are anomalous (section 3.3). Network, memory, losses, and terms
of the score follow the published code (cvlab-yonsei/MNAD); `compat="paper"` uses the paper's formulas where the two
differ. Changes: the terms of the score are standardized on held-out normals instead of scaled over each video, so that
a frame can be scored without the rest of its video; the memory is part of the state, and each video starts from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam, Optimizer

from offnormal.backbones.folding import ScoringForm
from offnormal.data.batches import Batches
from offnormal.detectors.base import StatefulDetector, TrainedDetector
from offnormal.detectors.mnad.networks import MULTIPLE, Network, scoring_form
from offnormal.detectors.mnad.options import MNADImport, MNADOptions
from offnormal.detectors.mnad.scores import combine_terms, fit_scale, psnr, squared_error, weighted_error
from offnormal.detectors.mnad.weights import NEVER_USED, check_items, infer_structure
from offnormal.detectors.parts.maps import smooth_within
from offnormal.detectors.parts.memory import compactness, feature_distance, nearest_items, separateness, update_items
from offnormal.detectors.parts.reference_weights import match_state_dict, require_same_options
from offnormal.detectors.parts.stream_states import SequentialStreams
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, InputSpec, Output, Resize

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_UNSCALED = ((0.0, 1.0), (0.0, torch.inf))  # before `finish`: the score is the negated PSNR alone


class _FrameTerms(NamedTuple):
    """Terms of N frames, with the memories used for them."""

    psnr: Tensor  # (N,)
    distance: Tensor  # (N,) feature distance
    error: Tensor  # (N, C, H, W) squared error in 0-1, NaN where ignored
    query: Tensor  # (N, D, h, w)
    nearest: Tensor | None  # (N, h, w) items; None without a memory


class MNAD(TrainedDetector[MNADOptions], StatefulDetector[MNADOptions]):
    """Predicts frames from the frames before them, or reconstructs them, through a memory of normal features.

    Score: weighted sum of PSNR and feature distance, each in standard deviations from its mean on normals; higher =
    more anomalous. Map: squared error of the frame, averaged over the channels, smoothed. Terms: `psnr` in dB (lower =
    more anomalous) and `feature_distance`.
    """

    name = "mnad"
    Options = MNADOptions
    Import = MNADImport
    pools_map = False
    default_batch_size = 4  # Train.py of the published code, also the number of epochs
    default_epochs = 60
    default_schedule = "cosine"

    def __init__(self, options: MNADOptions, spec: InputSpec) -> None:
        """Create network and memory; ConfigError unless the sides are multiples of 8 pixels."""
        frames = self.clip_spec(options).frames
        if (spec.channels, spec.frames) != (options.channels, frames) or any(side % MULTIPLE for side in spec.size):
            raise ConfigError(
                f"input of {spec.size[0]}x{spec.size[1]} with channels={spec.channels}, frames={spec.frames}: mnad "
                f"expects sides in multiples of {MULTIPLE} pixels, channels={options.channels}, frames={frames}"
            )
        super().__init__(options, spec)
        with torch.random.fork_rng([]):
            torch.manual_seed(options.torch_seed)
            self.net = Network(
                options.method,
                options.channels,
                frames=max(1, frames - 1),
                width=options.width,
                item_length=options.length,
                memory=options.memory_size > 0,
            )
            items = torch.rand(options.memory_size, options.length)  # initialized as in Train.py
        self.register_buffer("items", F.normalize(items, dim=1))  # (M, D)
        self.register_buffer("normal", None)
        self.items: Tensor
        self.normal: Tensor | None  # (2, 2) mean and standard deviation of PSNR and feature distance on normals
        self._form = ScoringForm(scoring_form)

    @classmethod
    def create(
        cls,
        method: Literal["pred", "recon"] = "pred",
        size: int | tuple[int, int] | None = None,
        *,
        spec: InputSpec | None = None,
        **options: object,
    ) -> Self:
        """Like `Detector.create`; method: predict or reconstruct frames."""
        return super().create(size=size, spec=spec, method=method, **options)

    @classmethod
    def input_channels(cls, options: MNADOptions) -> Literal[1, 3]:
        """Channels of the input, an option."""
        return options.channels

    @classmethod
    def input_multiple(cls, options: MNADOptions) -> int:
        """Number of pixels that the sides must be multiples of: they are halved three times."""
        return MULTIPLE

    @classmethod
    def clip_spec(cls, options: MNADOptions) -> ClipSpec:
        """Consecutive frames, of which the last is predicted; a single frame for reconstruction."""
        return ClipSpec(frames=options.frames) if options.predicts else ClipSpec()

    @classmethod
    def from_reference(
        cls, states: Sequence[Mapping[str, Tensor]], options: MNADOptions, size: int | tuple[int, int] = 256
    ) -> Self:
        """Create the detector from the network's state dict and the memory under "items", in any order.

        The structure is inferred from the shapes; frames are resized, and colors ordered, as in the published code.
        Raises WeightsError for other states and ConfigError for options of another structure.
        """
        state, items, inferred = infer_structure(states)
        require_same_options(options, inferred)
        chosen = {"color_order": "bgr", **options.model_dump(include=options.model_fields_set), **inferred}
        resize = Resize(policy="stretch", interpolation="bilinear", antialias=False)  # model/utils.py
        sides = (size, size) if isinstance(size, int) else size
        validated = cls.read_options(chosen)
        clip = asdict(cls.clip_spec(validated))
        detector = cls(validated, InputSpec(size=sides, channels=validated.channels, resize=resize, **clip))
        detector.load_reference_state_dict(state, items)
        return detector

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return self.normal is not None

    def load_reference_state_dict(self, state: Mapping[str, Tensor], items: Tensor | None = None) -> None:
        """Load a state dict of the published code and, if given, its memory (M, D); the detector is then fitted.

        The published weights use --color-order bgr. Until `finish` is called with normals, the score is the negated
        PSNR alone. Raises WeightsError for other entries; then nothing is loaded.
        """
        used = {name: value for name, value in state.items() if NEVER_USED not in name}
        network_state = match_state_dict(self.net, used, "network of MNAD")
        memory = self.items if items is None else check_items(items, self.items)
        self.net.load_state_dict(network_state)
        self.items.copy_(memory)
        self.normal = torch.tensor(_UNSCALED, device=self.items.device)

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the network; the memory is updated without an optimizer."""
        return {"network": Adam(self.net.parameters(), lr=self.options.learning_rate, fused=True)}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1 -> the losses of the network; its step precedes the memory update (Train.py).

        Losses and recall use the memory from before the update.
        """
        losses, query = self._losses(x)
        yield "network", losses
        if self.options.memory_size:
            self.items.copy_(update_items(query.detach(), self.items, self.options.compat, everywhere=True))

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The losses on held-out normals."""
        return self._losses(x)[0]

    def finish(self, loader: Batches) -> None:
        """Learn mean and standard deviation of the score's terms from held-out normals, scored in order."""
        self.normal = torch.tensor(_UNSCALED, device=self.items.device)
        streams = SequentialStreams(self)
        terms = []
        for batch in loader:
            pixels = torch.from_numpy(batch.pixels).to(self.items.device)
            videos = [sample.item.path for sample in batch.samples]
            output = streams.score(pixels, videos) if self.updates_online else self(pixels)
            terms.append(torch.cat([output.terms["psnr"], output.terms["feature_distance"]], 1))
        values = torch.cat(terms).double()  # (R, 2)
        self.normal = fit_scale(values).float()

    # --- scoring --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, T, H, W) or (N, C, H, W), -> score (N, 1), map (N, 1, H, W); NotFittedError."""
        return self._output(self._compute_terms(x, self.items))

    @property
    def updates_online(self) -> bool:
        """Whether the memory is updated online, an option."""
        return self.options.online_update

    @property
    def carries_over(self) -> bool:
        """Whether the memory carries over from one video to the next, an option."""
        return self.options.carry_over

    def initial_state(self) -> Tensor:
        """The memory (M, D) after training."""
        return self.items.clone()

    def step(self, x: Tensor, state: Tensor) -> tuple[Output, Tensor]:
        """Score frames of N streams with their memories (N, M, D), then update the memories from normal frames.

        state: a memory of shape (M, D) applies to every stream; for a single stream the updated memory is (M, D), too.
        A frame updates the memory if its weighted error is below the option `update_threshold` (section 3.3;
        Evaluate.py).
        """
        memories = state if state.ndim == 3 else state.expand(len(x), *state.shape)
        frame_terms = self._compute_terms(x, memories)
        normal = weighted_error(frame_terms.error, self.options.compat) < self.options.threshold
        moved = update_items(frame_terms.query, memories, self.options.compat)
        after = torch.where(normal[:, None, None], moved, memories)
        return self._output(frame_terms), after[0] if state.ndim == 2 and len(x) == 1 else after

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels -> the predicted last frame, or the reconstruction, (N, C, H, W) in 0-1."""
        prediction = self._run_network(self._split(x)[0], self.items)[0]
        return self._reorder_colors((prediction + 1) / 2)

    def recalled_items(self, x: Tensor) -> Tensor | None:
        """Pixels -> index (N, h, w) of the nearest item at each position of the query map; None without a memory."""
        if not self.options.memory_size:
            return None
        return nearest_items(self._run_network(self._split(x)[0], self.items)[1], self.items)

    def _compute_terms(self, x: Tensor, items: Tensor) -> _FrameTerms:
        self.require_fitted()
        frames, target = self._split(x)
        prediction, query = self._run_network(frames, items)
        error = squared_error((prediction + 1) / 2, (target + 1) / 2, self.ignored)
        has_memory = self.options.memory_size > 0
        distance = feature_distance(query, items, self.options.compat) if has_memory else query.new_zeros(len(query))
        return _FrameTerms(psnr(error), distance, error, query, nearest_items(query, items) if has_memory else None)

    def _output(self, frame_terms: _FrameTerms) -> Output:
        assert self.normal is not None
        score = combine_terms(frame_terms.psnr, frame_terms.distance, self.normal, self.options.share)
        maps = smooth_within(frame_terms.error.nan_to_num(0).mean(1), self.ignored, self.options.sigma)
        terms = {"psnr": frame_terms.psnr[:, None], "feature_distance": frame_terms.distance[:, None]}
        nearest = frame_terms.nearest
        shares = None if nearest is None else F.one_hot(nearest.flatten(1), len(self.items)).float().mean(1)
        return Output(score=score[:, None], map=maps[:, None], terms=terms, recalled=shares)

    # --- helpers --------------------------------------------------------------------------------------------

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in 0-1 -> input frames, stacked along the channels, and the target frame, both in [-1, 1]."""
        scaled = 2 * self._reorder_colors(x) - 1
        if self.ignored is not None:
            scaled = scaled.masked_fill(self.ignored, 0)
        if scaled.ndim == 4:
            frames = target = scaled
        else:
            frames, target = scaled[:, :, :-1].transpose(1, 2).flatten(1, 2), scaled[:, :, -1]
        return frames.contiguous(memory_format=torch.channels_last), target

    def _run_network(self, frames: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Output frame and query map; without gradients, from a faster copy of the network."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.net(frames, items)  # type: ignore[no-any-return]
        dtype = _PRECISIONS[self.options.score_precision]
        prediction, query = self._form.get(self.net, dtype)(frames.to(dtype), items)
        return prediction.to(frames.dtype), query.to(frames.dtype)

    def _reorder_colors(self, x: Tensor) -> Tensor:
        """Pixels (N, C, ...) in the network's color order, or back."""
        return x.flip(1) if self.options.color_order == "bgr" else x

    def _losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of equations 7 to 10, all as means (published code), and the query map."""
        frames, target = self._split(x)
        prediction, query = self.net(frames, self.items)
        if self.ignored is not None:
            prediction = prediction.masked_fill(self.ignored, 0)
        losses = {"intensity": F.mse_loss(prediction.to(target.dtype), target)}
        if self.options.memory_size:
            losses["compactness"] = compactness(query, self.items)
            losses["separateness"] = separateness(query, self.items, self.options.margin)
        weights = self.options.loss_weights
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **{name: loss.detach() for name, loss in losses.items()}}, query
