"""Clip transformers from the package transformers, as embedders: TimeSformer, VideoMAE, ViViT, and V-JEPA 2.

The package is the extra `offnormal[transformers]`, imported when a network is created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from offnormal.backbones.video.base import State, VideoBackbone, VideoCard, resample
from offnormal.backbones.weights import fetch_hub
from offnormal.errors import ConfigError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_KINETICS = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
_OPTIONS = ("image_size", "num_frames", "num_channels")
_NON_COMMERCIAL = "CC-BY-NC-4.0"
_HEADS = ("classifier.", "fc_norm.", "pooler.", "predictor.", "decoder.", "encoder_to_decoder.", "mask_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A network, its published weights, and its input."""

    family: str  # class prefix in the library: Timesformer, VideoMAE, Vivit, VJEPA2
    repository: str  # Hugging Face
    prefix: str  # of tensors in a checkpoint with a classifier
    license: str
    frames: int
    every: int | None
    side: int
    file: str = "model.safetensors"
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET
    first_token: bool = False  # the embedding is the first token, otherwise the mean of all
    top1: float | None = None
    options: Mapping[str, object] = field(default_factory=dict)  # of the configuration


_TIMESFORMER = Recipe(
    family="Timesformer",
    repository="facebook/timesformer-base-finetuned-k400",
    prefix="timesformer.",
    license=_NON_COMMERCIAL,
    frames=8,
    every=32,
    side=224,
    file="pytorch_model.bin",
    normalization=_KINETICS,
    first_token=True,
)
NETWORKS = {
    "timesformer_b": replace(_TIMESFORMER, top1=77.9),
    "timesformer_hr": replace(
        _TIMESFORMER, repository="facebook/timesformer-hr-finetuned-k400", frames=16, every=16, side=448
    ),
    "timesformer_l": replace(_TIMESFORMER, repository="fcakyon/timesformer-large-finetuned-k400", frames=96, every=4),
    "videomae_b": Recipe(
        family="VideoMAE",
        repository="MCG-NJU/videomae-base-finetuned-kinetics",
        prefix="videomae.",
        license=_NON_COMMERCIAL,
        frames=16,
        every=4,
        side=224,
    ),
    "vivit_b": Recipe(
        family="Vivit",
        repository="google/vivit-b-16x2-kinetics400",
        prefix="vivit.",
        license="MIT",
        frames=32,
        every=2,
        side=224,
        normalization=_HALF,
        first_token=True,
    ),
    "vjepa2_l": Recipe(
        family="VJEPA2",
        repository="facebook/vjepa2-vitl-fpc64-256",
        prefix="vjepa2.",
        license="MIT",
        frames=16,  # any even number is valid; 64 in training
        every=None,
        side=256,
    ),
}


class TransformerBackbone(VideoBackbone):
    """A clip transformer by name; clips are resized to its length and size."""

    refusal = "its tokens cover the whole clip in all layers, so no stage is smaller than the one before"

    def __init__(self, name: str, *, in_channels: int = 3) -> None:
        recipe = NETWORKS[name]
        trunk, width = _build(recipe, _import_library(name), in_channels)
        card = VideoCard(
            backbone=name,
            license=recipe.license,
            mean=recipe.normalization[0],
            std=recipe.normalization[1],
            size=(recipe.side, recipe.side),
            frames=recipe.frames,
            every=recipe.every,
            layout="frames before channels",
            embedding=width,
            top1=recipe.top1,
            published=recipe.repository,
            non_commercial=recipe.license == _NON_COMMERCIAL,
        )
        super().__init__(card, trunk, in_channels)
        self.recipe = recipe

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, D): the first token, or the mean of all tokens."""
        clips = self.prepare(x)
        arguments = {"skip_predictor": True} if self.recipe.family == "VJEPA2" else {}
        tokens: Tensor = self.trunk(clips, **arguments).last_hidden_state  # (N, L, D)
        return tokens[:, 0] if self.recipe.first_token else tokens.mean(1)

    def prepare(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> input of the library network, (N, T', C, side, side)."""
        x = resample(x, self.recipe.frames)
        if x.shape[3:] != self.card.size:
            frames = x.transpose(1, 2).flatten(0, 1)
            frames = interpolate(frames, self.card.size, mode="bilinear", antialias=x.device.type != "meta")
            x = frames.view(len(x), -1, *frames.shape[1:]).transpose(1, 2)
        return self.normalize(x).transpose(1, 2)

    def _rename_tensors(self, state: State) -> State:
        """Rename tensors with the library, which has changed many names since publication."""
        published = {key.removeprefix(self.recipe.prefix): value for key, value in state.items()}
        published = {key: value for key, value in published.items() if not key.startswith(_HEADS)}
        library = _import_library(self.card.backbone)
        model, _ = _build(self.recipe, library, 3)
        model, loading = getattr(library, f"{self.recipe.family}Model").from_pretrained(
            None,
            config=model.config,
            state_dict=published,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **_model_options(self.recipe),
        )
        renamed = {key: value for key, value in model.state_dict().items() if not key.startswith(_HEADS)}
        renamed = {key: value for key, value in renamed.items() if key not in loading["missing_keys"]}
        unknown = {key: torch.empty(0) for key in loading["unexpected_keys"]}
        wrong = {key: torch.empty(shape, device="meta") for key, shape, _ in loading["mismatched_keys"]}
        return {**renamed, **unknown, **wrong}

    def _find_weights(self) -> tuple[Path, str]:
        recipe = self.recipe
        return fetch_hub(recipe.repository, self.card.backbone, recipe.file), f"Hugging Face {recipe.repository}"


def _build(recipe: Recipe, library: ModuleType, in_channels: int) -> tuple[nn.Module, int]:
    """Create the network without parts for training and classification; return it and the length of its tokens."""
    names = ("crop_size", "frames_per_clip", "in_chans") if recipe.family == "VJEPA2" else _OPTIONS
    options = dict(zip(names, (recipe.side, recipe.frames, in_channels), strict=True))
    config = getattr(library, f"{recipe.family}Config")(**options, **recipe.options)
    trunk = getattr(library, f"{recipe.family}Model")(config, **_model_options(recipe))
    if recipe.family == "VJEPA2":
        trunk.predictor = nn.Identity()  # only for training
    return trunk, config.hidden_size


def _model_options(recipe: Recipe) -> dict[str, bool]:
    return {"add_pooling_layer": False} if recipe.family == "Vivit" else {}


def _import_library(name: str) -> ModuleType:
    try:
        library = import_module("transformers")
    except ImportError:
        raise ConfigError(
            f"{name} needs the package transformers, which is not installed: install offnormal[transformers]"
        ) from None
    library.utils.logging.disable_progress_bar()  # of copying tensors, which takes milliseconds
    return library
