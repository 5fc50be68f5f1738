"""GANomaly: encoder, decoder, and second encoder against a discriminator (Akcay et al., ACCV 2018, arXiv 1805.06725).

The generator learns to reconstruct normal images and to encode them again; anomalous content changes on the way
(section 3.2). Constants and losses follow the published code (samet-akcay/ganomaly), also where it differs from the
paper: the adversarial loss compares features image by image, and the score is a squared distance. Changes: two passes
through the discriminator per step instead of four, with the same losses; running statistics for scoring, so that a
score does not depend on the rest of the batch (`batch_statistics` restores the original); a collapsed discriminator is
restarted together with its optimizer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.optim import Adam, Optimizer

from offnormal.data.batches import Batches
from offnormal.detectors.base import TrainedDetector
from offnormal.detectors.ganomaly.networks import SMALLEST, Discriminator, Generator, initialize
from offnormal.detectors.ganomaly.options import GanomalyOptions
from offnormal.detectors.ganomaly.weights import infer_structure, split_states
from offnormal.detectors.parts.cut_paste import cut_paste_auroc
from offnormal.detectors.parts.maps import smooth_within
from offnormal.detectors.parts.reference_weights import match_state_dict, require_same_options
from offnormal.errors import ConfigError
from offnormal.types import InputSpec, Output, Resize

log = logging.getLogger(__name__)

Term = Literal["latent", "contextual"]
_CLEAR_GAIN = 0.05  # AUROC difference: twice the standard error for about forty normals
_BETAS = (0.5, 0.999)  # published code, options.py (beta1); torch's default (beta2)


class Ganomaly(TrainedDetector[GanomalyOptions]):
    """A generator learns to map normal images to a latent vector, back to pixels, and again to a latent vector.

    Score: distance of the two latent vectors, or mean difference of image and reconstruction; see `finish`. Map: this
    difference, averaged over the channels, smoothed. Terms: `latent`, `contextual`. Higher = more anomalous.
    """

    name = "ganomaly"
    Options = GanomalyOptions
    pools_map = False
    default_size = 64
    default_steps = 600
    square_sides = tuple(SMALLEST << k for k in range(8))

    def __init__(self, options: GanomalyOptions, spec: InputSpec) -> None:
        """Create the networks, initialized as in DCGAN, for squares with a side of 16, 32, 64, ... pixels."""
        size = spec.size[0]
        if (spec.size, spec.channels, spec.frames) != ((size, size), options.channels, 1):
            raise ConfigError(
                f"input of {spec.size[0]}x{spec.size[1]} with channels={spec.channels}, frames={spec.frames}: ganomaly "
                f"expects a square with channels={options.channels}, frames=1"
            )
        super().__init__(options, spec)
        self.generator = Generator(size, options.channels, options.latent, options.width, options.extra_layers)
        self.discriminator = Discriminator(size, options.channels, options.width, options.extra_layers)
        self.register_buffer("taken", None)
        self.register_buffer("restarts", torch.tensor(0))
        self.restarts: Tensor  # number of collapses of the discriminator
        random = torch.Generator().manual_seed(options.torch_seed)
        initialize(self.generator, random)
        initialize(self.discriminator, random)
        self.to(memory_format=torch.channels_last)  # convolutions are faster in this layout, also on CPUs
        self._critic: Optimizer | None = None

    @classmethod
    def create(
        cls,
        size: int | tuple[int, int] | None = None,
        channels: int = 3,
        latent: int = 100,
        width: int = 64,
        extra_layers: int = 0,
        *,
        spec: InputSpec | None = None,
        **options: object,
    ) -> Self:
        """Like `Detector.create`, with the network options in the order of the published code."""
        networks = {"channels": channels, "latent": latent, "width": width, "extra_layers": extra_layers}
        return super().create(size=size, spec=spec, **networks, **options)

    @classmethod
    def input_channels(cls, options: GanomalyOptions) -> Literal[1, 3]:
        """Channels of the input, an option."""
        return options.channels

    @classmethod
    def from_reference(cls, states: Sequence[Mapping[str, Tensor]], options: GanomalyOptions) -> Self:
        """Create the detector from the state dicts of netG and, optionally, netD, in any order.

        The structure is inferred from the shapes and must agree with options that are set. Images are resized as in the
        published code. Raises WeightsError for other states and ConfigError for another structure.
        """
        generator_state, discriminator_state = split_states(states)
        size, structure = infer_structure(generator_state)
        require_same_options(options, structure)
        resize = Resize(policy="short_side", short_side=size, interpolation="bilinear")  # lib/data.py
        spec = InputSpec(size=(size, size), channels=structure["channels"], resize=resize)
        detector = cls.create(spec=spec, **{**options.model_dump(), **structure})
        detector.load_reference_state_dict(generator_state, discriminator_state)
        return detector

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return self._term_shares is not None

    @property
    def _term_shares(self) -> Tensor | None:
        """(2,) shares of the latent and the contextual term in the score: (1, 0) or (0, 1); None before the fit."""
        return self._buffers["taken"]

    @property
    def score_term(self) -> Term:
        """The term used as score; NotFittedError before the fit."""
        self.require_fitted()
        assert self._term_shares is not None
        return "latent" if self._term_shares[0] else "contextual"

    def load_reference_state_dict(
        self, generator_state: Mapping[str, Tensor], discriminator_state: Mapping[str, Tensor] | None = None
    ) -> None:
        """Load state dicts of the published code, netG's and optionally netD's; the detector is then fitted.

        Entries are matched by name, or by order if no name matches. Raises WeightsError for missing entries, unknown
        entries, and entries of another shape; then nothing is loaded.
        """
        generator = match_state_dict(self.generator, generator_state, "netG")
        if discriminator_state is not None:
            self.discriminator.load_state_dict(match_state_dict(self.discriminator, discriminator_state, "netD"))
        self.generator.load_state_dict(generator)
        self._set_term("contextual" if self.options.score == "contextual" else "latent")

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam for each network."""
        optimizers_by_name = {
            name: Adam(network.parameters(), lr=self.options.learning_rate, betas=_BETAS, fused=True)
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
        }
        self._critic = optimizers_by_name["discriminator"]
        return dict(optimizers_by_name)

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels (N, C, S, S) in 0-1 -> first the generator's losses, then the discriminator's.

        The discriminator sees the reconstruction from before the generator's step (published code, model.py).
        """
        real = self._scale(x)
        fake, z, z_hat = self.generator(real)
        detached = fake.detach().requires_grad_()
        real_logits, real_features = self.discriminator.logits(real)
        fake_logits, fake_features = self.discriminator.logits(detached)
        adversarial = _reattach(fake, F.mse_loss(fake_features, real_features.detach(), reduction="sum"), detached)
        losses = {
            "adversarial": adversarial / fake_features.numel(),
            "contextual": F.l1_loss(fake, real),
            "latent": F.mse_loss(z_hat, z),
        }
        yield "generator", {"loss": self._weighted_sum(losses), **_detach(losses)}

        losses = {"real": _bce(real_logits, 1.0), "fake": _bce(fake_logits, 0.0)}
        loss = (losses["real"] + losses["fake"]) / 2
        yield "discriminator", {"loss": loss, **_detach(losses)}
        if self._has_collapsed(loss.detach()):
            self._restart_discriminator()

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """Contextual and latent loss on held-out normals; "loss" is their weighted sum.

        The adversarial loss is excluded, because the discriminator changes and its values are not comparable over time.
        The latent loss alone would select the start, when all latent vectors are near 0.
        """
        real = self._scale(x)
        fake, z, z_hat = self.generator(real)
        losses = {"contextual": F.l1_loss(fake, real), "latent": F.mse_loss(z_hat, z)}
        return {"loss": self._weighted_sum(losses), **losses}

    def finish(self, loader: Batches) -> None:
        """Select the term used as score: with `auto` the latent term, unless it is clearly worse.

        Both are compared on held-out normals and on copies of them with a pasted patch.
        """
        self._set_term(self._select_term(loader) if self.options.score == "auto" else self.options.score)

    # --- scoring --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Output:
        """Pixels (N, C, S, S) in 0-1 -> score (N, 1), map (N, 1, S, S); NotFittedError before the fit."""
        self.require_fitted()
        shares = self._term_shares
        assert shares is not None
        latent, residual = self._compare(x)
        contextual = residual.flatten(1).mean(1, keepdim=True)
        maps = smooth_within(residual, self.ignored, self.options.sigma)
        return Output(
            score=shares[0] * latent + shares[1] * contextual,
            map=maps[:, None],
            terms={"latent": latent, "contextual": contextual},
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels (N, C, S, S) in 0-1 -> reconstructions in 0-1."""
        fake: Tensor = self.generator(self._scale(x))[0]
        return (fake + 1) / 2

    def train(self, mode: bool = True) -> Self:
        """As in torch, but with `batch_statistics` eval mode uses the statistics of each batch."""
        super().train(mode)
        if self.options.batch_statistics:
            for module in self.generator.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.training, module.track_running_stats = True, mode  # used, but not updated
        return self

    def _compare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in 0-1 -> distance of the latent vectors (N, 1), and of image and reconstruction (N, S, S)."""
        real = self._scale(x)
        fake, z, z_hat = self.generator(real)
        difference = (z_hat - z).flatten(1)
        distance = difference.square() if self.options.distance == "l2" else difference.abs()
        return distance.mean(1, keepdim=True), (fake - real).abs().mean(1)

    def _set_term(self, term: Term) -> None:
        shares = torch.tensor((1.0, 0.0) if term == "latent" else (0.0, 1.0), device=self.restarts.device)
        self.register_buffer("taken", shares)

    def _select_term(self, loader: Batches) -> Term:
        def terms(x: Tensor) -> dict[str, Tensor]:
            latent, residual = self._compare(x.to(self.restarts.device))
            return {"latent": latent[:, 0], "contextual": residual.mean((1, 2))}

        aurocs = cut_paste_auroc(terms, loader, seed=self.options.seed)
        term: Term = "contextual" if aurocs and aurocs["contextual"] > aurocs["latent"] + _CLEAR_GAIN else "latent"
        log.info("the score is the %s term; AUROC of detecting pasted patches: %s", term, aurocs)
        return term

    def _scale(self, x: Tensor) -> Tensor:
        """0-1 -> [-1, 1]; ignored pixels become 0."""
        scaled = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        return scaled if self.ignored is None else scaled.masked_fill(self.ignored, 0)

    def _weighted_sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([getattr(self.options, f"{name}_weight") * loss for name, loss in losses.items()]).sum()

    def _has_collapsed(self, loss: Tensor) -> bool:
        if distributed.is_available() and distributed.is_initialized():  # all processes must agree
            loss = loss.clone()
            distributed.all_reduce(loss)
            loss /= distributed.get_world_size()
        return bool(loss < self.options.collapse)

    def _restart_discriminator(self) -> None:
        """Draw new weights, and reset running statistics and optimizer state."""
        self.restarts += 1
        seed = (self.options.seed + int(self.restarts)) % (1 << 63)  # generators take no negative seeds
        initialize(self.discriminator, torch.Generator().manual_seed(seed))
        if self._critic is not None:
            self._critic.state.clear()


def _bce(logits: Tensor, target: float) -> Tensor:
    """Binary cross entropy against one label, from log-odds, so that no probability is rounded to 0 or 1."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _reattach(fake: Tensor, loss: Tensor, detached: Tensor) -> Tensor:
    """Turn a loss of `detached`, the detached copy of `fake`, into a loss of `fake` with the same value and gradient.

    One discriminator pass then serves both optimizers, and the generator's gradient never touches its weights.
    """
    (gradient,) = torch.autograd.grad(loss, detached, retain_graph=True)
    return loss.detach() + ((fake - detached.detach()) * gradient).sum()


def _detach(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in losses.items()}
