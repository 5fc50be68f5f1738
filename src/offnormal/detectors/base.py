"""The contracts of detectors: what they take, what they return, how they learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Generic, Literal, Self

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypeVar

from offnormal.backbones.base import WeightCard
from offnormal.config.model import Flattened
from offnormal.config.validation import format_validation_error
from offnormal.data.batches import Batches
from offnormal.errors import ConfigError, NotFittedError
from offnormal.types import ClipSpec, InputSpec, Output, Pooling, Resize


def read_whole(value: object) -> object:
    """A number that a flag or the environment gave as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


DataKind = Literal["images", "videos", "clips"]  # clips: of activities, each judged as a whole
Channels = Annotated[Literal[1, 3], BeforeValidator(read_whole)]  # as an option


class DetectorOptions(BaseModel):
    """Options of a detector: flags, the YAML key `detector:` and the bundle's configuration derive from them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: int = 0
    """Random seed of the fit."""

    @classmethod
    def as_field(cls) -> Any:
        """As the field `detector` of a configuration, with flags beside those of the others."""
        return Annotated[cls, Flattened()], cls()

    @property
    def torch_seed(self) -> int:
        """The seed as generators take it: never negative."""
        return self.seed % (1 << 63)


OptionsT = TypeVar("OptionsT", bound=DetectorOptions, default=Any)


class Detector(nn.Module, ABC, Generic[OptionsT]):
    """Learns from normal samples alone; gives higher scores to what is less normal.

    The constructor of every detector takes its options and its input, and nothing else.
    """

    name: ClassVar[str]  # as registered
    Options: type[OptionsT]
    default_size: ClassVar[int] = 256  # side in pixels of the square whose area the input has by default
    square_sides: ClassVar[Sequence[int]] = ()  # the input is a square of one of these sides; (): any rectangle
    pools_map: ClassVar[bool]  # score = pooling of the map: zones can re-pool it
    needs_fixed_position: ClassVar[bool] = False  # what is seen must not move: to it a shift is an anomaly

    def __init__(self, options: OptionsT, spec: InputSpec) -> None:
        super().__init__()
        self.options = options
        self.input = spec
        self.register_buffer("ignored", None)  # (H, W) bool, or None: pixels that never count
        self.ignored: Tensor | None

    @classmethod
    def create(
        cls, *, size: int | tuple[int, int] | None = None, spec: InputSpec | None = None, **options: Any
    ) -> Self:
        """The detector of options by name, for use in Python; it has no pretrained weights yet.

        size: input in pixels, N (square) or (H, W), to which images are stretched; default: the detector's. spec: the
        whole input instead. Raises ConfigError for options and sizes that are not possible.
        """
        chosen = cls.read_options(options)
        if spec is None:
            side = cls.default_side(chosen) if size is None else size
            spec = InputSpec(
                size=(side, side) if isinstance(side, int) else side,
                channels=cls.input_channels(chosen),
                resize=Resize(policy="stretch"),
                **asdict(cls.clip_spec(chosen)),
            )
        return cls(chosen, spec)

    @classmethod
    def read_options(cls, values: Mapping[str, object]) -> OptionsT:
        """Options by name, checked; ConfigError with what to do for others."""
        try:
            return cls.Options.model_validate(values)
        except ValidationError as error:
            raise ConfigError(format_validation_error(error, cls.Options)) from None

    @classmethod
    def adapt_options(cls, options: OptionsT, *, data: DataKind, shown: float) -> OptionsT:
        """The options with what the data decide filled in: what they are, and how many pixels a side."""
        return options

    @classmethod
    def default_side(cls, options: OptionsT) -> int:
        """Side in pixels of the square whose area the input has by default."""
        return cls.default_size

    @classmethod
    def input_channels(cls, options: OptionsT) -> Literal[1, 3]:
        """Channels of the input: 1 gray, 3 RGB."""
        return 3

    @classmethod
    def input_multiple(cls, options: OptionsT) -> int:
        """Sides of the input are multiples of this many pixels."""
        return 1

    @classmethod
    def clip_spec(cls, options: OptionsT) -> ClipSpec:
        """Which frames of a video are taken together."""
        return ClipSpec()

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""

    @abstractmethod
    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""

    @property
    def pooling(self) -> Pooling | None:
        """How the score comes out of the map, where `pools_map`; None: it does not."""
        return None

    def reconstruct(self, x: Tensor) -> Tensor | None:
        """What a fitted detector makes of pixels, for people: (N, C, H, W) in 0-1; None: nothing of the kind.

        Of clips (N, C, T, H, W) it is what the last frame should look like.
        """
        return None

    def items_at(self, x: Tensor) -> Tensor | None:
        """Which item of its memory a fitted detector recalls where, for people: (N, h, w) whole; None: it has none."""
        return None

    def load_pretrained(self) -> None:
        """Fill in pretrained weights where the method has any; WeightsError when they cannot be had."""

    def cards(self) -> list[WeightCard]:
        """Cards of the pretrained weights inside."""
        return []

    def reference(self) -> nn.Module | None:
        """What a user would compare the cost with: for detectors on a backbone the plain backbone, else None."""
        return None

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Take the cards of the weights that a saved detector was built with."""

    def ignore(self, region: Tensor) -> None:
        """Leave a region (H, W), True = ignored, out of maps and scores; before the fit.

        Raises ConfigError when its size is not the input's or nothing would be left.
        """
        if tuple(region.shape) != self.input.size or bool(region.all()):
            raise ConfigError(
                f"ignored region of {tuple(region.shape)} with {region.float().mean():.0%} ignored: expected "
                f"{self.input.size} and some pixel that is not ignored"
            )
        self.ignored = region.bool()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take the state of a saved detector; buffers whose size the data decided are made to fit."""
        for key, value in state.items():
            path, _, leaf = key.rpartition(".")
            module = self.get_submodule(path)
            if leaf in module._buffers:
                module._buffers[leaf] = torch.empty_like(value)
        self.load_state_dict(state, strict=True)

    def require_fitted(self) -> None:
        """NotFittedError with advice unless the detector is fitted."""
        if not self.is_fitted:
            raise NotFittedError(
                f"this {self.name} has not been fitted: fit it on normal samples first "
                f"(offnormal fit {self.name} --data DIR), or load a bundle"
            )


class StatisticalDetector(Detector[OptionsT]):
    """Learns without an optimizer, from sufficient statistics that add up.

    `update` is `absorb(embed(x))`; whoever wants to score training samples later keeps their embeddings, so that
    the backbone runs once.
    """

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in 0-1 -> what the statistics are gathered over, one flat row a sample (N, E)."""

    @abstractmethod
    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, E)."""

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add one batch of normal pixels (N, C, H, W); memory does not grow with the number of batches."""
        self.absorb(self.embed(x))

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add the statistics of another detector of the same options; associative."""

    @abstractmethod
    def blank(self) -> Self:
        """A detector of the same options and weights without any statistics; weights are shared, not copied."""

    @abstractmethod
    def without(self, part: Self) -> Self:
        """A detector with the statistics of this one less those of `part`, whose samples it contains."""

    @abstractmethod
    def finish(self, *, keep: bool = False) -> None:
        """Solve, and drop what only fitting needed unless `keep`; FitError with fewer than two samples."""

    @abstractmethod
    def score_embedding(self, embedding: Tensor) -> Output:
        """Output for embedded samples (N, E) of a finished detector."""

    @abstractmethod
    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Before `finish`: outputs, in pieces, for training samples (N, E), each as if it had not been learned from."""


class TrainedDetector(Detector[OptionsT]):
    """Learns by gradient; the loop in `training` drives it.

    Its training is a sequence of steps, each over one batch of normal pixels. What is not a parameter but changes while
    it learns (memory items, running statistics) lies in buffers, so that checkpoints hold it. Random numbers of a step
    come from torch's own generators, which the loop seeds anew for every step.
    """

    default_batch_size: ClassVar[int] = 64  # samples a step
    default_epochs: ClassVar[int]  # passes over the training samples
    default_steps: int | None = None  # in all, whatever the number of samples; then epochs do not count
    default_schedule: ClassVar[str] = "constant"  # how learning rates fall

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Optimizers by name; together they hold every parameter that learns, none of them twice."""

    @abstractmethod
    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1, (N, C, H, W) or (N, C, T, H, W) -> for each optimizer in turn its name and losses.

        "loss" is what that optimizer makes smaller, a scalar; the other entries are recorded. The loop runs backward on
        the parameters of that optimizer alone, steps it, and only then asks for the next.
        """

    @abstractmethod
    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels of normals kept back, in eval mode -> losses, each a mean over the batch; "loss" chooses the best."""

    def epoch_begins(self, epoch: int, *, late: bool) -> dict[str, float]:
        """Before the steps of an epoch, from 0, also when it is gone on with: what is to be logged of it.

        late: whether parts that learn only late do so by now.
        """
        return {}

    def epoch_ended(self) -> dict[str, float]:
        """After every pass over the samples: what is to be logged of it, finite numbers by name."""
        return {}

    def prepare(self, loader: Batches) -> None:
        """Before the first step: learn from the training samples what training needs, such as standardization."""

    @abstractmethod
    def finish(self, loader: Batches) -> None:
        """After the last step: learn from normals kept back what scoring needs; the detector is then fitted."""


class EmbeddedDetector(TrainedDetector[OptionsT]):
    """Learns from embeddings, which are computed of each sample once; its steps and loaders then give these, (N, E).

    Where a part of what embeds is to learn, too, steps are over pixels again from some epoch on. Groups of parameters
    that learn only from then on have a name under "late" in their optimizer.
    """

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    @property
    @abstractmethod
    def views(self) -> int:
        """Random views that each training sample is learned from, besides the sample itself."""

    @property
    @abstractmethod
    def learns_late(self) -> bool:
        """Whether a part of what embeds is to learn, too, when the rest has learned for a while."""

    @abstractmethod
    def stages(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """Of one that learns late: how many epochs are over embeddings, and how many then over pixels.

        epochs: of the whole training; None: as many as suit it. ConfigError when none would be over pixels.
        """

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> embeddings (N, E), each of its sample alone."""

    @abstractmethod
    def view(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (N, ...) in 0-1 -> a random view of each sample, which its seed decides."""

    @abstractmethod
    def embedding_key(self, view: int) -> str:
        """A text that differs where embeddings of the same pixels may; view 0 is the sample itself."""

    @abstractmethod
    def score_embedding(self, embedding: Tensor) -> Output:
        """Output for embedded samples (N, E) of a fitted detector."""

    @abstractmethod
    def learn_heads(self, loader: Batches) -> None:
        """After the last step, before `finish`: learn from the training samples, pixels or embedded as then."""


class StatefulDetector(Detector[OptionsT]):
    """Can go on learning while it scores: what it has come to know of a stream is its state, a tensor.

    `forward` knows nothing of it: its scores rest on what the fit has left, whatever was scored before.
    """

    @property
    @abstractmethod
    def updates_online(self) -> bool:
        """Whether streams are scored by `step`, each with a state of its own, and not by `forward`."""

    @property
    def carries_over(self) -> bool:
        """Whether the state goes on from one video to the next."""
        return False

    @abstractmethod
    def initial_state(self) -> Tensor:
        """The state of a stream of which nothing has been seen (...)."""

    @abstractmethod
    def step(self, x: Tensor, state: Tensor) -> tuple[Output, Tensor]:
        """Pixels of N streams and their states (N, ...) -> the output by these states, and the states after it.

        state: (...) is that of each of them; of one stream the state after it is (...) again.
        """
