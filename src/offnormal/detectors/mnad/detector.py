"""MNAD: memory-guided normality (Park, Noh and Ham, CVPR 2020, arXiv 2003.13228), to predict frames or to rebuild them.

A U-Net makes a frame of those before it, or of itself, through a small memory of what normal features look like
(section 3.1). What cannot be predicted or recalled is off normal (section 3.3). Network, memory, losses and terms of
the score are those of the published code (cvlab-yonsei/MNAD); `compat="paper"` takes the paper's formulas where the two
differ. Ours: the terms of the score are standardized on normals kept back instead of stretched over each video, so that
one frame can be scored without the rest of its video; the memory is part of the state, and each video starts from it.
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
from offnormal.detectors.mnad.scores import headline, psnr, scale_of, squared_error, weighted_error
from offnormal.detectors.mnad.weights import NEVER_USED, memory_of, structure
from offnormal.detectors.parts.maps import smooth_within
from offnormal.detectors.parts.memory import compactness, feature_distance, nearest_items, separateness, update_items
from offnormal.detectors.parts.reference_weights import matched, refuse_other
from offnormal.detectors.parts.stream_states import InOrder
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, InputSpec, Output, Resize

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_UNSCALED = ((0.0, 1.0), (0.0, torch.inf))  # of a detector that has seen no normals: its score is the PSNR alone


class _Looked(NamedTuple):
    """What is seen in N frames, with given memories."""

    psnr: Tensor  # (N,)
    distance: Tensor  # (N,) of features
    error: Tensor  # (N, C, H, W) squared, in 0-1, NaN where ignored
    query: Tensor  # (N, D, h, w)
    nearest: Tensor | None  # (N, h, w) items; None without a memory


class MNAD(TrainedDetector[MNADOptions], StatefulDetector[MNADOptions]):
    """Frames are made of those before them, or of themselves, through a memory of normal features.

    Score: weighted sum of PSNR and feature distance, each in standard deviations from its mean on normals; higher =
    more anomalous. Map: squared error of the frame, mean of the channels, smoothed. Terms: `psnr` in dB, which is lower
    of what is more anomalous, and `feature_distance`.
    """

    name = "mnad"
    Options = MNADOptions
    Import = MNADImport
    pools_map = False
    default_batch_size = 4  # Train.py of the published code, as the number of epochs
    default_epochs = 60
    default_schedule = "cosine"

    def __init__(self, options: MNADOptions, spec: InputSpec) -> None:
        """Network and memory for frames whose sides are multiples of 8 pixels; ConfigError for another input."""
        taken = self.clip_spec(options).frames
        if (spec.channels, spec.frames) != (options.channels, taken) or any(side % MULTIPLE for side in spec.size):
            raise ConfigError(
                f"mnad with these options takes {taken} frame(s) of {options.channels} channel(s) whose sides are "
                f"multiples of {MULTIPLE} px, got {spec.frames} of {spec.channels} with {spec.size[0]} x {spec.size[1]}"
            )
        super().__init__(options, spec)
        with torch.random.fork_rng([]):
            torch.manual_seed(options.torch_seed)
            self.net = Network(
                options.method,
                options.channels,
                frames=max(1, taken - 1),
                width=options.width,
                item_length=options.length,
                memory=options.memory_size > 0,
            )
            items = torch.rand(options.memory_size, options.length)  # Train.py starts so, too
        self.register_buffer("items", F.normalize(items, dim=1))  # (M, D)
        self.register_buffer("normal", None)
        self.items: Tensor
        self.normal: Tensor | None  # (2, 2) mean and standard deviation on normals, of PSNR and feature distance
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
        """As `Detector.create`; method: what is made of frames."""
        return super().create(size=size, spec=spec, method=method, **options)

    @classmethod
    def input_channels(cls, options: MNADOptions) -> Literal[1, 3]:
        """As the options say."""
        return options.channels

    @classmethod
    def input_multiple(cls, options: MNADOptions) -> int:
        """The sides are halved three times."""
        return MULTIPLE

    @classmethod
    def clip_spec(cls, options: MNADOptions) -> ClipSpec:
        """Consecutive frames, of which the last is predicted; one frame to rebuild."""
        return ClipSpec(frames=options.frames) if options.predicts else ClipSpec()

    @classmethod
    def from_reference(
        cls, states: Sequence[Mapping[str, Tensor]], options: MNADOptions, size: int | tuple[int, int] = 256
    ) -> Self:
        """The detector of the network's state dict and, under "items", the memory's, in any order.

        Its structure is read from the shapes; frames are resized, and their colors ordered, as the published code does
        it. Raises WeightsError for other states and ConfigError for options of another structure.
        """
        state, items, found = structure(states)
        refuse_other(options, found)
        chosen = {"color_order": "bgr", **options.model_dump(include=options.model_fields_set), **found}
        resize = Resize(policy="stretch", interpolation="bilinear", antialias=False)  # model/utils.py
        sides = (size, size) if isinstance(size, int) else size
        decided = cls.read_options(chosen)
        clip = asdict(cls.clip_spec(decided))
        made = cls(decided, InputSpec(size=sides, channels=decided.channels, resize=resize, **clip))
        made.load_reference_state_dict(state, items)
        return made

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return self.normal is not None

    def load_reference_state_dict(self, state: Mapping[str, Tensor], items: Tensor | None = None) -> None:
        """Take a state dict of the published code and, where it is given, its memory (M, D); then it is fitted.

        The color order is that of the published weights (--color-order bgr). Until `finish` was called with normals,
        the score is the negated PSNR alone. Raises WeightsError for other entries; nothing is taken then.
        """
        used = {name: value for name, value in state.items() if NEVER_USED not in name}
        found = matched(self.net, used, "network of MNAD")
        memory = self.items if items is None else memory_of(items, self.items)
        self.net.load_state_dict(found)
        self.items.copy_(memory)
        self.normal = torch.tensor(_UNSCALED, device=self.items.device)

    # --- learning -------------------------------------------------------------------------------------------

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam over the network; the memory learns without."""
        return {"network": Adam(self.net.parameters(), lr=self.options.learning_rate, fused=True)}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Normal pixels in 0-1 -> the losses of the network; the memory is updated after its step (Train.py).

        Losses and reading see the memory before it.
        """
        losses, query = self._losses(x)
        yield "network", losses
        if self.options.memory_size:
            self.items.copy_(update_items(query.detach(), self.items, self.options.compat, everywhere=True))

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The losses of normals kept back."""
        return self._losses(x)[0]

    def finish(self, loader: Batches) -> None:
        """Learn mean and standard deviation of the terms of the score from normals kept back, scored as later."""
        self.normal = torch.tensor(_UNSCALED, device=self.items.device)
        order = InOrder(self)
        terms = []
        for batch in loader:
            pixels = torch.from_numpy(batch.pixels).to(self.items.device)
            found = order.score(pixels, [s.item.path for s in batch.samples]) if self.updates_online else self(pixels)
            terms.append(torch.cat([found.terms["psnr"], found.terms["feature_distance"]], 1))
        seen = torch.cat(terms).double()  # (R, 2)
        self.normal = scale_of(seen).float()

    # --- scoring --------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Output:
        """Pixels in 0-1, (N, C, T, H, W) or (N, C, H, W), -> score (N, 1), map (N, 1, H, W); NotFittedError."""
        return self._output(self._look(x, self.items))

    @property
    def updates_online(self) -> bool:
        """As the option `update` says."""
        return self.options.online_update

    @property
    def carries_over(self) -> bool:
        """As the option `carry_over` says."""
        return self.options.carry_over

    def initial_state(self) -> Tensor:
        """The memory (M, D) that training has left."""
        return self.items.clone()

    def step(self, x: Tensor, state: Tensor) -> tuple[Output, Tensor]:
        """Score frames of N streams by their memories (N, M, D), which then learn from those that look normal.

        state: (M, D) is that of each stream; of one stream the memory after it is (M, D) again. A frame is learned from
        when its weighted error is below the option `update_threshold` (section 3.3; Evaluate.py).
        """
        memories = state if state.ndim == 3 else state.expand(len(x), *state.shape)
        seen = self._look(x, memories)
        normal = weighted_error(seen.error, self.options.compat) < self.options.threshold
        moved = update_items(seen.query, memories, self.options.compat)
        after = torch.where(normal[:, None, None], moved, memories)
        return self._output(seen), after[0] if state.ndim == 2 and len(x) == 1 else after

    def reconstruct(self, x: Tensor) -> Tensor:
        """Pixels -> the frame (N, C, H, W) in 0-1 that the network makes: the last one as predicted, or as rebuilt."""
        made = self._made(self._split(x)[0], self.items)[0]
        return self._ordered((made + 1) / 2)

    def items_at(self, x: Tensor) -> Tensor | None:
        """Pixels -> number (N, h, w) of the nearest item at each position of the query map; None without a memory."""
        if not self.options.memory_size:
            return None
        return nearest_items(self._made(self._split(x)[0], self.items)[1], self.items)

    def _look(self, x: Tensor, items: Tensor) -> _Looked:
        self.require_fitted()
        frames, target = self._split(x)
        made, query = self._made(frames, items)
        error = squared_error((made + 1) / 2, (target + 1) / 2, self.ignored)
        known = self.options.memory_size > 0
        distance = feature_distance(query, items, self.options.compat) if known else query.new_zeros(len(query))
        return _Looked(psnr(error), distance, error, query, nearest_items(query, items) if known else None)

    def _output(self, seen: _Looked) -> Output:
        assert self.normal is not None
        score = headline(seen.psnr, seen.distance, self.normal, self.options.share)
        maps = smooth_within(seen.error.nan_to_num(0).mean(1), self.ignored, self.options.sigma)
        terms = {"psnr": seen.psnr[:, None], "feature_distance": seen.distance[:, None]}
        shares = None if seen.nearest is None else F.one_hot(seen.nearest.flatten(1), len(self.items)).float().mean(1)
        return Output(score=score[:, None], map=maps[:, None], terms=terms, recalled=shares)

    # --- parts ----------------------------------------------------------------------------------------------

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in 0-1 -> what the network sees, frames on the channels, and the frame it is to make, in [-1, 1]."""
        scaled = 2 * self._ordered(x) - 1
        if self.ignored is not None:
            scaled = scaled.masked_fill(self.ignored, 0)
        if scaled.ndim == 4:
            frames = target = scaled
        else:
            frames, target = scaled[:, :, :-1].transpose(1, 2).flatten(1, 2), scaled[:, :, -1]
        return frames.contiguous(memory_format=torch.channels_last), target

    def _made(self, frames: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The network's frame and query map; without gradients by the form of it that computes fastest."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.net(frames, items)  # type: ignore[no-any-return]
        dtype = _PRECISIONS[self.options.score_precision]
        made, query = self._form.get(self.net, dtype)(frames.to(dtype), items)
        return made.to(frames.dtype), query.to(frames.dtype)

    def _ordered(self, x: Tensor) -> Tensor:
        """Pixels (N, C, ...) in the network's order of colors, or back."""
        return x.flip(1) if self.options.color_order == "bgr" else x

    def _losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Equations 7 to 10, all as means (published code), and the query map."""
        frames, target = self._split(x)
        made, query = self.net(frames, self.items)
        if self.ignored is not None:
            made = made.masked_fill(self.ignored, 0)
        losses = {"intensity": F.mse_loss(made.to(target.dtype), target)}
        if self.options.memory_size:
            losses["compactness"] = compactness(query, self.items)
            losses["separateness"] = separateness(query, self.items, self.options.margin)
        weights = self.options.loss_weights
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **{name: loss.detach() for name, loss in losses.items()}}, query
