"""MemAE: an autoencoder that can only recall normal patterns (Gong et al., ICCV 2019, arXiv 1904.02639).

The code of an input is replaced by a sparse mixture of learned prototypes before it is decoded (section 3): what is not
like them is rebuilt badly. Clips are handled as in the published code (donggong1/memae-anomaly-detection), pictures as
in the paper. Where the two differ: similarities are dot products (code) or cosines (paper), errors are squared (paper)
or absolute (code, `compat`). Ours: weights are cut at sparsity / memory, so that a small memory is not starved; what
starves all the same is logged; batch normalization is folded into the convolutions for scoring.
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
    MemoryWatch,
    build_network,
    by_item,
    memory_layout,
    scoring_form,
)
from offnormal.detectors.memae.options import PUBLISHED_SHRINK, MemAEOptions, PublishedOptions
from offnormal.detectors.memae.weights import as_ours, structure
from offnormal.detectors.parts.maps import pool, smooth_within
from offnormal.detectors.parts.memory import entropy
from offnormal.detectors.parts.reference_weights import matched, refuse_other
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, InputSpec, Output, Pooling

log = logging.getLogger(__name__)

_SIDES = 64  # the blur in the shorter side: 4 pixels in 256


class MemAE(TrainedDetector[MemAEOptions]):
    """An autoencoder whose decoder sees what a memory of normal patterns recalls for the code.

    Score: mean squared error of a picture, or of each frame of a clip, in [-1, 1]. Map: that error, mean of the
    channels, smoothed. Term: `error`, its mean. Higher = more anomalous.
    """

    name = "memae"
    Options = MemAEOptions
    ImportOptions = PublishedOptions
    pools_map = True
    default_batch_size = 10  # published code, train_video_MemAE.sh
    default_epochs = 100  # the same

    def __init__(self, options: MemAEOptions, spec: InputSpec) -> None:
        """Networks of the form that the options name, or that suits the input; ConfigError for another input."""
        options = options.decided(videos=spec.frames > 1, shown=max(spec.size))
        super().__init__(options, spec)
        self._refuse_other_input()
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
        self.usage: Tensor | None  # (M,) share of each item in what normals kept back recalled; 0 where that is unknown
        self.watch = MemoryWatch(options.items, options.threshold)
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
        """As `Detector.create`; of clips with the published threshold, unless shrink or sparsity are given."""
        published = form == "video" and not {"shrink", "sparsity"} & options.keys()
        threshold = {"shrink": PUBLISHED_SHRINK} if published else {}
        return super().create(size=size, spec=spec, form=form, **threshold, **options)

    @classmethod
    def adapt_options(cls, options: MemAEOptions, *, data: DataKind, shown: float) -> MemAEOptions:
        """With the form that suits the data."""
        return options.decided(videos=data != "pictures", shown=shown)

    @classmethod
    def default_side(cls, options: MemAEOptions) -> int:
        """As the form has it."""
        return options.network.side

    @classmethod
    def input_channels(cls, options: MemAEOptions) -> Literal[1, 3]:
        """As the options say, or the form has it."""
        return options.input_channels

    @classmethod
    def clip_spec(cls, options: MemAEOptions) -> ClipSpec:
        """Consecutive frames, all of them scored; with compat=code the one after the middle."""
        return options.clip_spec

    @classmethod
    def from_reference(cls, states: Sequence[Mapping[str, Tensor]], options: MemAEOptions) -> Self:
        """The video form of the published code's state dict; what the options set must agree with it.

        Raises WeightsError for other states and ConfigError for another structure.
        """
        found = structure(states)
        refuse_other(options, found)
        made = cls.create(**{**options.model_dump(exclude_unset=True), **found})
        made.load_reference_state_dict(states[0])
        return made

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return self.usage is not None

    def load_reference_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a state dict of the published code; the detector is then fitted.

        Raises WeightsError saying which entries are missing, unknown or of another shape; nothing is taken then.
        """
        self.net.load_state_dict(matched(self.net, as_ours(state), "memae"))
        self.usage = torch.zeros_like(self.watch.recalled)

    def load_pretrained(self) -> None:
        """Fill in weights of the encoder where they are asked for; WeightsError when they cannot be had."""
        weights = self.options.weights
        if self._backbone is not None and weights is not None:
            self._backbone.load_pretrained(weights if isinstance(weights, Path) else None)
        elif self.options.freeze_encoder:
            log.warning("--freeze-encoder without --weights: the encoder keeps random weights and never learns")

    def cards(self) -> list[WeightCard]:
        """The card of the encoder's pretrained weights; nothing where it started at random."""
        return [] if self._backbone is None or self._backbone.card.sha256 is None else [self._backbone.card]

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Take the card of the weights that the bundle was fitted with, if there were any."""
        for card in cards:
            assert self._backbone is not None
            self._backbone.card = VideoCard.model_validate(card)
            self._backbone.warn_about_license()

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam, of all but a frozen encoder."""
        rate = self.options.learning_rate or self.options.network.learning_rate
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        return {"autoencoder": Adam(learning, lr=rate, fused=True)}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1 -> the squared error and the weighted entropy (paper, equation 10)."""
        losses, attention = self._losses(x)
        if attention is not None:
            self.watch.see(attention)
        yield "autoencoder", {name: loss if name == "loss" else loss.detach() for name, loss in losses.items()}

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The same losses of normals kept back; "loss" is the squared error, by which anomalies are scored."""
        losses, _ = self._losses(x)
        return {**losses, "loss": losses["reconstruction"]}

    def epoch_ended(self) -> dict[str, float]:
        """Share of the positions that recalled nothing in the epoch, and of the items that were never recalled."""
        return {} if self.net.memory is None else self.watch.epoch_ended()

    def finish(self, loader: Batches) -> None:
        """Note how often normals kept back recall each item."""
        usage = torch.zeros_like(self.watch.recalled)
        for batch in loader:
            _, attention = self._for_scoring()(self._scaled(torch.from_numpy(batch.pixels).to(usage.device)))
            if attention is not None:
                usage += by_item(attention).sum(0)
        self.usage = usage / usage.sum().clamp(min=1e-12)

    # --- scoring --------------------------------------------------------------------------------------------

    @property
    def pooling(self) -> Pooling:
        """How the score comes out of the map."""
        return Pooling(self.options.pool, self.options.top_share)

    def forward(self, x: Tensor) -> Output:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> scores (N, K), maps (N, K, H, W).

        K is 1 of pictures, T of clips, or with compat=code 1. Raises NotFittedError before the fit.
        """
        self.require_fitted()
        real = self._scaled(x)
        made, attention = self._for_scoring()(real)
        residual = (made - real).square()
        residual = residual.sum(1).sqrt() if self.options.compat == "code" else residual.mean(1)
        if residual.ndim == 3:
            residual = residual[:, None]
        elif self.options.compat == "code":
            residual = residual.mean(1, keepdim=True)  # script_testing.py: one error a clip
        sigma = min(self.input.size) / _SIDES if self.options.sigma is None else self.options.sigma
        maps = smooth_within(residual.flatten(0, 1), self.ignored, sigma)
        score = pool(maps, self.options.pool, self.options.top_share)
        return Output(
            score=score.view(residual.shape[:2]),
            map=maps.view_as(residual),
            terms={"error": residual.mean((2, 3))},
            recalled=None if attention is None else F.normalize(by_item(attention), p=1, dim=1),
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in 0-1 -> the network's, in 0-1; of clips (N, C, T, H, W) its last frame."""
        made: Tensor = self._for_scoring()(self._scaled(x))[0]
        return ((made if made.ndim == 4 else made[:, :, -1]) + 1) / 2

    # --- parts ----------------------------------------------------------------------------------------------

    @property
    def _backbone(self) -> VideoBackbone | None:
        """The network of clips that is the encoder; None: the plain one is."""
        return self.net.encoder.backbone if isinstance(self.net.encoder, ClipEncoder) else None

    def _for_scoring(self) -> MemoryAutoencoder:
        """The network, in eval mode a copy with its batch normalization folded into the convolutions."""
        return self.net if self.training else self._form.get(self.net)

    def _scaled(self, x: Tensor) -> Tensor:
        """0-1 -> [-1, 1], ignored pixels 0."""
        scaled = torch.empty_like(x, memory_format=memory_layout(self.input)).copy_(2 * x - 1)
        return scaled if self.ignored is None else scaled.masked_fill(self.ignored, 0)

    def _losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        real = self._scaled(x)
        made, attention = self.net(real)
        error = F.mse_loss(made, real)
        if attention is None:
            return {"loss": error, "reconstruction": error}, None
        spread = entropy(attention)
        loss = error + self.options.entropy_weight * spread
        return {"loss": loss, "reconstruction": error, "entropy": spread}, attention

    def _refuse_other_input(self) -> None:
        expected = (self.input_channels(self.options), self.clip_spec(self.options).frames)
        if (self.input.channels, self.input.frames) != expected:
            raise ConfigError(
                f"memae of the form {self.options.form} takes {expected[0]} channel(s) and {expected[1]} frame(s), got "
                f"an input of {self.input.channels} and {self.input.frames}"
            )
