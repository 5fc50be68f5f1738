"""Base classes of detectors: options, input, output, and how each kind learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Generic, Literal, Self

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypeVar

from offnormal.backbones.base import WeightCard
from offnormal.config.model import Flattened, require_bounded
from offnormal.config.validation import format_validation_error
from offnormal.data.batches import Batches
from offnormal.errors import ConfigError, NotFittedError
from offnormal.types import ClipSpec, InputSpec, Output, Pooling, Resize


def parse_integer(value: object) -> object:
    """Convert text from a flag or the environment to an integer; return other values unchanged."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


DataKind = Literal["images", "videos", "clips"]  # clips: whole recordings of one activity, one score each
Channels = Annotated[Literal[1, 3], BeforeValidator(parse_integer)]  # type of an option


class DetectorOptions(BaseModel):
    """Options of a detector. Flags, the YAML key `detector:`, and the bundle's configuration derive from them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: int = 0
    """Random seed of the fit."""

    _bounded = field_validator("*", mode="after")(require_bounded)

    @classmethod
    def config_field(cls) -> Any:
        """Type and default of the field `detector` of a configuration; its flags appear beside the others."""
        return Annotated[cls, Flattened()], cls()

    @property
    def torch_seed(self) -> int:
        """Seed for torch generators, which take no negative numbers."""
        return self.seed % (1 << 63)


OptionsT = TypeVar("OptionsT", bound=DetectorOptions, default=Any)


class Detector(nn.Module, ABC, Generic[OptionsT]):
    """Learns from normal samples only; higher scores mean more anomalous.

    Every constructor takes the options and the input, and nothing else.
    """

    name: ClassVar[str]  # registered name
    Options: type[OptionsT]
    default_size: ClassVar[int] = 256  # the default input has the area of a square with this side in pixels
    square_sides: ClassVar[Sequence[int]] = ()  # allowed sides of a square input; empty: any rectangle
    pools_map: ClassVar[bool]  # the score is pooled from the map, so zones can pool it again
    needs_fixed_position: ClassVar[bool] = False  # the scene must not move: a shift is an anomaly

    def __init__(self, options: OptionsT, spec: InputSpec) -> None:
        super().__init__()
        self.options = options
        self.input = spec
        self.register_buffer("ignored", None)  # (H, W) bool, pixels that never count; or None
        self.ignored: Tensor | None

    @classmethod
    def create(
        cls, *, size: int | tuple[int, int] | None = None, spec: InputSpec | None = None, **options: Any
    ) -> Self:
        """Create a detector from options by name, for use in Python; without pretrained weights.

        size: input in pixels, N (square) or (H, W), to which images are stretched; default: chosen by the detector.
        spec: the complete input, instead of size. Raises ConfigError for invalid options and sizes.
        """
        validated = cls.read_options(options)
        if spec is None:
            side = cls.default_side(validated) if size is None else size
            spec = InputSpec(
                size=(side, side) if isinstance(side, int) else side,
                channels=cls.input_channels(validated),
                resize=Resize(policy="stretch"),
                **asdict(cls.clip_spec(validated)),
            )
        return cls(validated, spec)

    @classmethod
    def read_options(cls, values: Mapping[str, object]) -> OptionsT:
        """Validate options by name; ConfigError with advice if one is invalid."""
        try:
            return cls.Options.model_validate(values)
        except ValidationError as error:
            raise ConfigError(format_validation_error(error, cls.Options)) from None

    @classmethod
    def adapt_options(cls, options: OptionsT, *, data: DataKind, longer_side: float) -> OptionsT:
        """Fill in the options that depend on the data: its kind, and the length of its longer side in pixels."""
        return options

    @classmethod
    def default_side(cls, options: OptionsT) -> int:
        """Default side in pixels: the input has the area of a square with this side."""
        return cls.default_size

    @classmethod
    def input_channels(cls, options: OptionsT) -> Literal[1, 3]:
        """Channels of the input: 1 gray, 3 RGB."""
        return 3

    @classmethod
    def input_multiple(cls, options: OptionsT) -> int:
        """Number of pixels that the input's sides must be multiples of."""
        return 1

    @classmethod
    def clip_spec(cls, options: OptionsT) -> ClipSpec:
        """Which frames of a video form one clip."""
        return ClipSpec()

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether the detector can score."""

    @abstractmethod
    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""

    @property
    def pooling(self) -> Pooling | None:
        """How the score is pooled from the map, if `pools_map`; otherwise None."""
        return None

    def reconstruct(self, x: Tensor) -> Tensor | None:
        """Reconstruct pixels for display: (N, C, H, W) in 0-1; None if the method does not reconstruct.

        For clips (N, C, T, H, W), the result is the expected last frame.
        """
        return None

    def recalled_items(self, x: Tensor) -> Tensor | None:
        """Index (N, h, w) of the memory item recalled at each position, for display; None without a memory."""
        return None

    def load_pretrained(self) -> None:
        """Load pretrained weights if the method uses any; WeightsError if they are unavailable."""

    def cards(self) -> list[WeightCard]:
        """Cards of the pretrained weights in use."""
        return []

    def reference(self) -> nn.Module | None:
        """The plain backbone, as a reference for costs; None for detectors without one."""
        return None

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Restore the cards of the weights that a saved detector was built with."""

    def ignore(self, region: Tensor) -> None:
        """Exclude a region (H, W), True = ignored, from maps and scores; call it before the fit.

        Raises ConfigError if the size differs from the input's, or if the region covers the whole input.
        """
        if tuple(region.shape) != self.input.size or bool(region.all()):
            size, expected = ("x".join(map(str, shape)) for shape in (region.shape, self.input.size))
            raise ConfigError(
                f"ignored region of size {size} that covers {100 * region.float().mean():.0f} %: expected size "
                f"{expected} and less than 100 %"
            )
        self.ignored = region.bool()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the state of a saved detector; buffers take the sizes in the state."""
        for key, value in state.items():
            path, _, leaf = key.rpartition(".")
            module = self.get_submodule(path)
            if leaf in module._buffers:
                module._buffers[leaf] = torch.empty_like(value)
        self.load_state_dict(state, strict=True)

    def require_fitted(self) -> None:
        """Raise NotFittedError with advice unless the detector is fitted."""
        if not self.is_fitted:
            raise NotFittedError(
                f"this {self.name} is not fitted: fit it on normal samples first "
                f"(offnormal fit {self.name} --data DIR), or load a bundle"
            )


class StatisticalDetector(Detector[OptionsT]):
    """Learns without an optimizer, from sufficient statistics that add up.

    `update` is `absorb(embed(x))`. Callers that score training samples later store the embeddings, so that the backbone
    runs once.
    """

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in 0-1 -> embeddings (N, E), one flat row per sample."""

    @abstractmethod
    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, E)."""

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add one batch of normal pixels (N, C, H, W); memory does not grow with the number of batches."""
        self.absorb(self.embed(x))

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add the statistics of another detector with the same options; associative."""

    @abstractmethod
    def blank(self) -> Self:
        """Create a detector with the same options and shared weights, but without statistics."""

    @abstractmethod
    def without(self, part: Self) -> Self:
        """Create a detector without the statistics of `part`; this detector must contain the samples of `part`."""

    @abstractmethod
    def finish(self, *, keep: bool = False) -> None:
        """Solve, and drop the fitting statistics unless `keep`; FitError with fewer than two samples."""

    @abstractmethod
    def score_embedding(self, embedding: Tensor) -> Output:
        """Score embedded samples (N, E); after `finish`."""

    @abstractmethod
    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Score training samples (N, E), each with a fit on all the others; in pieces, before `finish`."""


class TrainedDetector(Detector[OptionsT]):
    """Learns by gradient; the loop in `training` drives it.

    Each training step uses one batch of normal pixels. Learned state that is not a parameter (memory items, running
    statistics) is stored in buffers, so that checkpoints contain it. Steps draw from torch's own generators, which the
    loop seeds before every step.
    """

    default_batch_size: ClassVar[int] = 64  # samples per step
    default_epochs: ClassVar[int]  # passes over the training samples
    default_steps: int | None = None  # total steps, for any number of samples; replaces epochs
    default_schedule: ClassVar[str] = "constant"  # schedule of the learning rates

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Optimizers by name; together they hold every trainable parameter exactly once."""

    @abstractmethod
    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1, (N, C, H, W) or (N, C, T, H, W) -> each optimizer's name and losses, in turn.

        "loss" is the scalar that the optimizer minimizes; the other entries are recorded. The loop runs backward on the
        parameters of that optimizer only and steps it before it requests the next losses.
        """

    @abstractmethod
    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """Held-out normal pixels, in eval mode -> losses averaged over the batch; "loss" selects the best state."""

    def start_epoch(self, epoch: int, *, fine_tuning: bool) -> dict[str, float]:
        """Called before each epoch (from 0), also when resuming; returns values to log.

        fine_tuning: whether the epoch belongs to the fine-tuning stage.
        """
        return {}

    def end_epoch(self) -> dict[str, float]:
        """Called after each epoch; returns finite numbers to log, by name."""
        return {}

    def prepare(self, loader: Batches) -> None:
        """Before the first step: learn what training needs from the training samples, such as standardization."""

    @abstractmethod
    def finish(self, loader: Batches) -> None:
        """After the last step: learn what scoring needs from held-out normals; the detector is then fitted."""


class EmbeddedDetector(TrainedDetector[OptionsT]):
    """Learns from embeddings (N, E), computed once per sample; steps and loaders deliver these.

    If part of the embedder is fine-tuned, the steps of the fine-tuning stage use pixels again. Parameter groups that
    learn only in that stage have a name under "late" in their optimizer.
    """

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> Output; NotFittedError before the fit."""
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    @property
    @abstractmethod
    def views(self) -> int:
        """Number of random views of each training sample, in addition to the sample itself."""

    @property
    @abstractmethod
    def fine_tunes(self) -> bool:
        """Whether part of the embedder is fine-tuned in a second stage."""

    @abstractmethod
    def split_epochs(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """Number of epochs on embeddings, and of the fine-tuning epochs on pixels after them.

        epochs: of the whole training; None: chosen by the detector. ConfigError if no epoch is left for fine-tuning.
        """

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Pixels in 0-1, (N, C, H, W) or (N, C, T, H, W), -> embeddings (N, E), each from its sample alone."""

    @abstractmethod
    def view(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (N, ...) in 0-1 -> a random view of each sample, determined by its seed."""

    @abstractmethod
    def embedding_key(self, view: int) -> str:
        """A text that changes whenever embeddings of the same pixels may change; view 0 is the sample itself."""

    @abstractmethod
    def score_embedding(self, embedding: Tensor) -> Output:
        """Score embedded samples (N, E) of a fitted detector."""

    @abstractmethod
    def learn_heads(self, loader: Batches) -> None:
        """Between the last step and `finish`: learn from the training samples, embedded or as pixels."""


class StatefulDetector(Detector[OptionsT]):
    """Can update its memory online while it scores; the memory of a stream is its state, a tensor.

    `forward` ignores this state: its scores depend only on the fit, not on samples scored before.
    """

    @property
    @abstractmethod
    def updates_online(self) -> bool:
        """Whether streams are scored by `step`, each with its own state, instead of by `forward`."""

    @property
    def carries_over(self) -> bool:
        """Whether the state carries over from one video to the next."""
        return False

    @abstractmethod
    def initial_state(self) -> Tensor:
        """State (...) at the start of a stream."""

    @abstractmethod
    def step(self, x: Tensor, state: Tensor) -> tuple[Output, Tensor]:
        """Pixels of N streams and their states (N, ...) -> the output with these states, and the updated states.

        state: a state of shape (...) applies to every stream; for a single stream the updated state then has the same
        shape.
        """
