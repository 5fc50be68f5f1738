"""MemAE: an autoencoder that can recall only normal patterns (Gong et al., ICCV 2019, arXiv 1904.02639).

The code of an input is replaced by a sparse mixture of learned prototypes before it is decoded (section 3), so that
inputs unlike the prototypes are reconstructed badly. Clips are handled as in the published code
(donggong1/memae-anomaly-detection), images as in the paper. Where the two differ: similarities are dot products (code)
or cosines (paper), errors are squared (paper) or absolute (code, `compat`). Changes: weights are cut at sparsity /
memory, so that positions of a small memory still recall items; positions that recall nothing are logged; batch
normalization is folded into the convolutions for scoring.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam, Optimizer

from offnormal.backbones.base import WeightCard
from offnormal.backbones.folding import ScoringForm
from offnormal.backbones.video.base import VideoBackbone, VideoCard
from offnormal.data.batches import Batches
from offnormal.detectors.base import DataKind, TrainedDetector
from offnormal.detectors.memae.encoder import PLAIN, ClipEncoder
from offnormal.detectors.memae.networks import (
    FormName,
    MemoryAutoencoder,
    MemoryMonitor,
    build_network,
    memory_layout,
    scoring_form,
    sum_per_item,
)
from offnormal.detectors.memae.options import PUBLISHED_SHRINK, MemAEOptions, PublishedOptions
from offnormal.detectors.memae.weights import infer_structure, rename_memory
from offnormal.detectors.parts.maps import pool, smooth_within
from offnormal.detectors.parts.memory import entropy
from offnormal.detectors.parts.reference_weights import match_state_dict, require_same_options
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, InputSpec, Output, Pooling

log = logging.getLogger(__name__)

_BLUR_DIVISOR = 64  # default blur: shorter side / 64, or 4 pixels in 256


class MemAE(TrainedDetector[MemAEOptions]):
    """An autoencoder whose decoder gets only what a memory of normal patterns recalls for the code.

    Score: mean squared error of an image, or of each frame of a clip, in [-1, 1]. Map: this error, averaged over the
    channels, smoothed. Term: `error`, its mean. Higher = more anomalous.
    """

    name = "memae"
    Options = MemAEOptions
    ImportOptions = PublishedOptions
    pools_map = True
    default_batch_size = 10  # published code, train_video_MemAE.sh
    default_epochs = 100  # published code, train_video_MemAE.sh

    def __init__(self, options: MemAEOptions, spec: InputSpec) -> None:
        """Create the network of the chosen form, or of a form for the input; ConfigError for other inputs."""
        options = options.adapt(videos=spec.frames > 1, longer_side=max(spec.size))
        super().__init__(options, spec)
        self._check_input()
        with torch.random.fork_rng(()):
            torch.manual_seed(options.torch_seed)
            self.net: MemoryAutoencoder = build_network(
                options.network,
                self.input,
                width=options.width,
                items=options.items,
                shrink=options.threshold,
                similarity=options.similarity,
                query=options.query or options.network.query,
                encoder=None
                if options.encoder == PLAIN
                else ClipEncoder(options.encoder, self.input.channels, options.temporal, frozen=options.freeze_encoder),
            )
        self.register_buffer("usage", None)
        self.usage: Tensor | None  # (M,) share of each item in what held-out normals recall; 0 if unknown
        self.monitor = MemoryMonitor(options.items, options.threshold)
        self._form = ScoringForm(partial(scoring_form, spec=spec))
        self.to(memory_format=memory_layout(spec))

    @classmethod
    def create(
        cls,
        form: FormName = "video",
        *,
        size: int | tuple[int, int] | None = None,
        spec: InputSpec | None = None,
        **options: object,
    ) -> Self:
        """Like `Detector.create`; for clips with the published threshold, unless shrink or sparsity is given."""
        published = form == "video" and not {"shrink", "sparsity"} & options.keys()
        threshold = {"shrink": PUBLISHED_SHRINK} if published else {}
        return super().create(size=size, spec=spec, form=form, **threshold, **options)

    @classmethod
    def adapt_options(cls, options: MemAEOptions, *, data: DataKind, longer_side: float) -> MemAEOptions:
        """Choose the form by the data."""
        return options.adapt(videos=data != "images", longer_side=longer_side)

    @classmethod
    def default_side(cls, options: MemAEOptions) -> int:
        """Default side in pixels, chosen by the form."""
        return options.network.side

    @classmethod
    def input_channels(cls, options: MemAEOptions) -> Literal[1, 3]:
        """Channels of the input: the option, or the form's default."""
        return options.input_channels

    @classmethod
    def clip_spec(cls, options: MemAEOptions) -> ClipSpec:
        """Consecutive frames, all of them scored; with compat=code only the one after the middle."""
        return options.clip_spec

    @classmethod
    def from_reference(cls, states: Sequence[Mapping[str, Tensor]], options: MemAEOptions) -> Self:
        """Create the video form from a state dict of the published code; options that are set must agree with it.

        Raises WeightsError for other states and ConfigError for another structure.
        """
        inferred = infer_structure(states)
        require_same_options(options, inferred)
        detector = cls.create(**{**options.model_dump(exclude_unset=True), **inferred})
        detector.load_reference_state_dict(states[0])
        return detector

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return self.usage is not None

    def load_reference_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict of the published code; the detector is then fitted.

        Raises WeightsError for missing entries, unknown entries, and entries of another shape; then nothing is loaded.
        """
        self.net.load_state_dict(match_state_dict(self.net, rename_memory(state), "memae"))
        self.usage = torch.zeros_like(self.monitor.recalled)

    def load_pretrained(self) -> None:
        """Load weights of the encoder if they are requested; WeightsError if they are unavailable."""
        weights = self.options.weights
        if self._backbone is not None and weights is not None:
            self._backbone.load_pretrained(weights if isinstance(weights, Path) else None)
        elif self.options.freeze_encoder:
            log.warning("--freeze-encoder without --weights: the encoder has random weights and is never trained")

    def cards(self) -> list[WeightCard]:
        """Card of the encoder's pretrained weights; empty for random weights."""
        return [] if self._backbone is None or self._backbone.card.sha256 is None else [self._backbone.card]

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Restore the card of the weights that the bundle was fitted with, if any."""
        for card in cards:
            assert self._backbone is not None
            self._backbone.card = VideoCard.model_validate(card)
            self._backbone.warn_about_license()

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam for all parameters, except those of a frozen encoder."""
        rate = self.options.learning_rate or self.options.network.learning_rate
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        return {"autoencoder": Adam(learning, lr=rate, fused=True)}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1 -> the squared error and the weighted entropy (paper, equation 10)."""
        losses, attention = self._losses(x)
        if attention is not None:
            self.monitor.count(attention)
        yield "autoencoder", {name: loss if name == "loss" else loss.detach() for name, loss in losses.items()}

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The same losses on held-out normals; "loss" is the squared error, as in the score."""
        losses, _ = self._losses(x)
        return {**losses, "loss": losses["reconstruction"]}

    def end_epoch(self) -> dict[str, float]:
        """Shares of positions that recalled nothing in the epoch, and of items that were never recalled."""
        return {} if self.net.memory is None else self.monitor.end_epoch()

    def finish(self, loader: Batches) -> None:
        """Count how often held-out normals recall each item."""
        usage = torch.zeros_like(self.monitor.recalled)
        for batch in loader:
            _, attention = self._scoring_network()(self._scale(torch.from_numpy(batch.pixels).to(usage.device)))
            if attention is not None:
                usage += sum_per_item(attention).sum(0)
        self.usage = usage / usage.sum().clamp(min=1e-12)

    # --- scoring --------------------------------------------------------------------------------------------

    @property
    def pooling(self) -> Pooling:
        """How the score is pooled from the map."""
        return Pooling(self.options.pool, self.options.top_share)

    def forward(self, x: Tensor) -> Output:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> scores (N, K), maps (N, K, H, W).

        K is 1 for images, T for clips, and 1 for clips with compat=code. Raises NotFittedError before the fit.
        """
        self.require_fitted()
        real = self._scale(x)
        reconstruction, attention = self._scoring_network()(real)
        residual = (reconstruction - real).square()
        residual = residual.sum(1).sqrt() if self.options.compat == "code" else residual.mean(1)
        if residual.ndim == 3:
            residual = residual[:, None]
        elif self.options.compat == "code":
            residual = residual.mean(1, keepdim=True)  # script_testing.py: one error per clip
        sigma = min(self.input.size) / _BLUR_DIVISOR if self.options.sigma is None else self.options.sigma
        maps = smooth_within(residual.flatten(0, 1), self.ignored, sigma)
        score = pool(maps, self.options.pool, self.options.top_share)
        return Output(
            score=score.view(residual.shape[:2]),
            map=maps.view_as(residual),
            terms={"error": residual.mean((2, 3))},
            recalled=None if attention is None else F.normalize(sum_per_item(attention), p=1, dim=1),
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in 0-1 -> reconstructions in 0-1; for clips (N, C, T, H, W) the last frame."""
        reconstruction: Tensor = self._scoring_network()(self._scale(x))[0]
        return ((reconstruction if reconstruction.ndim == 4 else reconstruction[:, :, -1]) + 1) / 2

    # --- helpers --------------------------------------------------------------------------------------------

    @property
    def _backbone(self) -> VideoBackbone | None:
        """The clip backbone used as encoder; None for the plain encoder."""
        return self.net.encoder.backbone if isinstance(self.net.encoder, ClipEncoder) else None

    def _scoring_network(self) -> MemoryAutoencoder:
        """The network; in eval mode a copy with batch normalization folded into the convolutions."""
        return self.net if self.training else self._form.get(self.net)

    def _scale(self, x: Tensor) -> Tensor:
        """0-1 -> [-1, 1]; ignored pixels become 0."""
        scaled = torch.empty_like(x, memory_format=memory_layout(self.input)).copy_(2 * x - 1)
        return scaled if self.ignored is None else scaled.masked_fill(self.ignored, 0)

    def _losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        real = self._scale(x)
        reconstruction, attention = self.net(real)
        error = F.mse_loss(reconstruction, real)
        if attention is None:
            return {"loss": error, "reconstruction": error}, None
        spread = entropy(attention)
        loss = error + self.options.entropy_weight * spread
        return {"loss": loss, "reconstruction": error, "entropy": spread}, attention

    def _check_input(self) -> None:
        expected = (self.input_channels(self.options), self.clip_spec(self.options).frames)
        if (self.input.channels, self.input.frames) != expected:
            raise ConfigError(
                f"input with channels={self.input.channels}, frames={self.input.frames}: memae with "
                f"form={self.options.form} expects channels={expected[0]}, frames={expected[1]}"
            )
