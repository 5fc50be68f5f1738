"""GANomaly: encoder, decoder, encoder against a discriminator (Akcay et al., ACCV 2018, arXiv 1805.06725).

Learned from normal pictures alone, the generator reconstructs and encodes again what it knows; what it does not know
comes back changed (section 3.2). Numbers and losses are those of the published code (samet-akcay/ganomaly), where it
differs from the paper too: the adversarial loss compares features picture by picture, the score is a squared distance.
Ours: two passes through the discriminator a step instead of four, with the same losses; running statistics when
scoring, so that a score does not depend on what else is in the batch (`batch_statistics` brings the original back); a
collapsed discriminator starts anew together with its optimizer.
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
from offnormal.detectors.ganomaly.weights import generator_and_discriminator, structure
from offnormal.detectors.parts.cut_paste import tell_pasted
from offnormal.detectors.parts.maps import smooth_within
from offnormal.detectors.parts.reference_weights import matched, refuse_other
from offnormal.errors import ConfigError
from offnormal.types import InputSpec, Output, Resize

log = logging.getLogger(__name__)

Term = Literal["latent", "contextual"]
_CLEARLY = 0.05  # AUROC: twice its standard error for some forty normals
_BETAS = (0.5, 0.999)  # published code, options.py (beta1) and torch's default


class Ganomaly(TrainedDetector[GanomalyOptions]):
    """A generator learns to reconstruct normal pictures, from pixels to a latent vector and back, and once more.

    Score: distance of the two latent vectors, or the mean difference of picture and reconstruction; see `finish`. Map:
    that difference, mean of the channels, smoothed. Terms: `latent`, `contextual`. Higher = more anomalous.
    """

    name = "ganomaly"
    Options = GanomalyOptions
    pools_map = False
    default_size = 64
    default_steps = 600
    square_sides = tuple(SMALLEST << k for k in range(8))

    def __init__(self, options: GanomalyOptions, spec: InputSpec) -> None:
        """Networks for images whose side is a power of two from 16 on, with DCGAN's start."""
        size = spec.size[0]
        if (spec.size, spec.channels, spec.frames) != ((size, size), options.channels, 1):
            raise ConfigError(
                f"ganomaly with these options takes squares of {options.channels} channel(s), got an input of "
                f"{spec.size[0]} x {spec.size[1]}, {spec.channels} channel(s) and {spec.frames} frame(s)"
            )
        super().__init__(options, spec)
        self.generator = Generator(size, options.channels, options.latent, options.width, options.extra_layers)
        self.discriminator = Discriminator(size, options.channels, options.width, options.extra_layers)
        self.register_buffer("taken", None)
        self.register_buffer("restarts", torch.tensor(0))
        self.taken: Tensor | None  # (2,) shares of the latent and the contextual term in the score: 1 and 0, or 0 and 1
        self.restarts: Tensor  # how often the discriminator has collapsed
        random = torch.Generator().manual_seed(options.torch_seed)
        initialize(self.generator, random)
        initialize(self.discriminator, random)
        self.to(memory_format=torch.channels_last)  # convolutions compute faster in it, on processors too
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
        """As `Detector.create`, the options of the networks in the order of the published code."""
        networks = {"channels": channels, "latent": latent, "width": width, "extra_layers": extra_layers}
        return super().create(size=size, spec=spec, **networks, **options)

    @classmethod
    def input_channels(cls, options: GanomalyOptions) -> Literal[1, 3]:
        """As the options say."""
        return options.channels

    @classmethod
    def from_reference(cls, states: Sequence[Mapping[str, Tensor]], options: GanomalyOptions) -> Self:
        """The detector of netG's and, where it is there, netD's state dict, in any order.

        Its structure is read from the shapes; where the options set it, it must be the same. Pictures are cut as the
        published code does it.
        Raises WeightsError for other states and ConfigError for another structure.
        """
        generator_state, discriminator_state = generator_and_discriminator(states)
        size, found = structure(generator_state)
        refuse_other(options, found)
        resize = Resize(policy="short_side", short_side=size, interpolation="bilinear")  # lib/data.py
        spec = InputSpec(size=(size, size), channels=found["channels"], resize=resize)
        made = cls.create(spec=spec, **{**options.model_dump(), **found})
        made.load_reference_state_dict(generator_state, discriminator_state)
        return made

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return self.taken is not None

    @property
    def scores_by(self) -> Term:
        """The term that is the score; NotFittedError before the fit."""
        self.require_fitted()
        assert self.taken is not None
        return "latent" if self.taken[0] else "contextual"

    def load_reference_state_dict(
        self, generator_state: Mapping[str, Tensor], discriminator_state: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take state dicts of the published code, netG's and, where it is known, netD's; the detector is then fitted.

        Entries are taken by name, or, where no name is known, in their order. Raises WeightsError saying which are
        missing, unknown or of another shape; nothing is taken then.
        """
        generator = matched(self.generator, generator_state, "netG")
        if discriminator_state is not None:
            self.discriminator.load_state_dict(matched(self.discriminator, discriminator_state, "netD"))
        self.generator.load_state_dict(generator)
        self._take("contextual" if self.options.score == "contextual" else "latent")

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam for each network."""
        made = {
            name: Adam(network.parameters(), lr=self.options.learning_rate, betas=_BETAS, fused=True)
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
        }
        self._critic = made["discriminator"]
        return dict(made)

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels (N, C, S, S) in 0-1 -> first the generator's losses, then the discriminator's.

        The discriminator judges what was made before the generator's step (published code, model.py).
        """
        real = self._scaled(x)
        fake, z, z_hat = self.generator(real)
        shown = fake.detach().requires_grad_()
        real_logits, real_features = self.discriminator.logits(real)
        fake_logits, fake_features = self.discriminator.logits(shown)
        adversarial = _at(fake, F.mse_loss(fake_features, real_features.detach(), reduction="sum"), shown)
        losses = {
            "adversarial": adversarial / fake_features.numel(),
            "contextual": F.l1_loss(fake, real),
            "latent": F.mse_loss(z_hat, z),
        }
        yield "generator", {"loss": self._weighted(losses), **_recorded(losses)}

        losses = {"real": _bce(real_logits, 1.0), "fake": _bce(fake_logits, 0.0)}
        loss = (losses["real"] + losses["fake"]) / 2
        yield "discriminator", {"loss": loss, **_recorded(losses)}
        if self._collapsed(loss.detach()):
            self._restart_discriminator()

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """Contextual and latent loss of normals kept back; "loss" is their sum as weighted in training.

        The adversarial loss is left out: the discriminator that it is measured by changes, so that its values of two
        moments cannot be compared. The latent loss alone would choose the start, where all latent vectors are near 0.
        """
        real = self._scaled(x)
        fake, z, z_hat = self.generator(real)
        losses = {"contextual": F.l1_loss(fake, real), "latent": F.mse_loss(z_hat, z)}
        return {"loss": self._weighted(losses), **losses}

    def finish(self, loader: Batches) -> None:
        """Decide on the term that is the score: with `auto` the latent one, unless it is clearly worse.

        Both are tried on the normals kept back and on copies of them in which a piece was pasted elsewhere.
        """
        self._take(self._better(loader) if self.options.score == "auto" else self.options.score)

    # --- scoring --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Output:
        """Pixels (N, C, S, S) in 0-1 -> score (N, 1), map (N, 1, S, S); NotFittedError before the fit."""
        self.require_fitted()
        assert self.taken is not None
        latent, residual = self._compare(x)
        contextual = residual.flatten(1).mean(1, keepdim=True)
        maps = smooth_within(residual, self.ignored, self.options.sigma)
        return Output(
            score=self.taken[0] * latent + self.taken[1] * contextual,
            map=maps[:, None],
            terms={"latent": latent, "contextual": contextual},
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels (N, C, S, S) in 0-1 -> the generator's, in 0-1."""
        fake: Tensor = self.generator(self._scaled(x))[0]
        return (fake + 1) / 2

    def train(self, mode: bool = True) -> Self:
        """As torch has it, except that with `batch_statistics` scores rest on each batch's own statistics."""
        super().train(mode)
        if self.options.batch_statistics:
            for module in self.generator.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.training, module.track_running_stats = True, mode  # used, but not learned from
        return self

    def _compare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in 0-1 -> distance of the latent vectors (N, 1), difference of the pictures (N, S, S)."""
        real = self._scaled(x)
        fake, z, z_hat = self.generator(real)
        gap = (z_hat - z).flatten(1)
        distance = gap.square() if self.options.distance == "l2" else gap.abs()
        return distance.mean(1, keepdim=True), (fake - real).abs().mean(1)

    def _take(self, term: Term) -> None:
        self.taken = torch.tensor((1.0, 0.0) if term == "latent" else (0.0, 1.0), device=self.restarts.device)

    def _better(self, loader: Batches) -> Term:
        def terms(x: Tensor) -> dict[str, Tensor]:
            latent, residual = self._compare(x.to(self.restarts.device))
            return {"latent": latent[:, 0], "contextual": residual.mean((1, 2))}

        found = tell_pasted(terms, loader, seed=self.options.seed)
        term: Term = "contextual" if found and found["contextual"] > found["latent"] + _CLEARLY else "latent"
        log.info("the score is the %s term; pasted pieces are told with AUROCs of %s", term, found)
        return term

    def _scaled(self, x: Tensor) -> Tensor:
        """0-1 -> [-1, 1], ignored pixels 0."""
        scaled = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        return scaled if self.ignored is None else scaled.masked_fill(self.ignored, 0)

    def _weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([getattr(self.options, f"{name}_weight") * loss for name, loss in losses.items()]).sum()

    def _collapsed(self, loss: Tensor) -> bool:
        if distributed.is_available() and distributed.is_initialized():  # all processes decide alike
            loss = loss.clone()
            distributed.all_reduce(loss)
            loss /= distributed.get_world_size()
        return bool(loss < self.options.collapse)

    def _restart_discriminator(self) -> None:
        """Other random weights, fresh running statistics, and an optimizer that remembers nothing."""
        self.restarts += 1
        seed = (self.options.seed + int(self.restarts)) % (1 << 63)  # generators take no negative ones
        initialize(self.discriminator, torch.Generator().manual_seed(seed))
        if self._critic is not None:
            self._critic.state.clear()


def _bce(logits: Tensor, target: float) -> Tensor:
    """Binary cross entropy against one label, from log-odds: no probability is rounded to 0 or 1."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _at(fake: Tensor, loss: Tensor, shown: Tensor) -> Tensor:
    """A loss of `shown`, the detached copy of `fake`, as one of `fake`: the same value and the same gradient.

    The discriminator's pass can so serve both optimizers, and no gradient for the generator touches its weights.
    """
    (pull,) = torch.autograd.grad(loss, shown, retain_graph=True)
    return loss.detach() + ((fake - shown.detach()) * pull).sum()


def _recorded(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in losses.items()}
