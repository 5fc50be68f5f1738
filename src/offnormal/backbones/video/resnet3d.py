"""SlowOnly, ir-CSN, and 3-D ResNets: encoders and embedders, with data of published checkpoints."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from offnormal.backbones.video.base import State, Temporal, VideoBackbone, VideoCard
from offnormal.backbones.video.published_names import is_mmaction, rename_mmaction, without_head
from offnormal.backbones.video.residual import STAGES, Residual, ResidualNetwork, mean_of_windows
from offnormal.backbones.weights import fetch_url
from offnormal.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

KINETICS = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))  # mean, std of pytorchvideo
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # SlowOnly and 3-D ResNets of mmaction2
_VMZ = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))  # CSN of mmaction2, as in its original code
_ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
_MMACTION = "https://download.openmmlab.com/mmaction"
_IRCSN = "ircsn_ig65m-pretrained-{}-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb"
_HALVED = (False, True, True, True)  # halve time before the last three stages: 15 frames become 2
_DEPTHS_101, _DEPTHS_152 = (3, 4, 23, 3), (3, 8, 36, 3)

_BASIC = Residual(bottleneck=False, depths=(2, 2, 2, 2))  # SlowOnly R18
_CSN = Residual(depthwise=True, stem_kernel=3, kernels=(3, 3, 3, 3), strides=(1, 2, 2, 2))
_R3D = replace(_BASIC, stem_kernel=3, kernels=(3, 3, 3, 3), strides=(1, 2, 2, 2))  # as in mmaction2, without pool2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A network and its published weights."""

    kind: Residual
    frames: int
    every: int
    top1: float | None = None
    published: str | None = None
    url: str | None = None  # of a file with its sha256 in the name, to verify downloads
    license: str = "Apache-2.0"
    non_commercial: bool = False


_IG65M = "Apache-2.0, trained on IG-65M with weights under CC-BY-NC-4.0"

NETWORKS = {
    "slowonly_r18": Recipe(kind=_BASIC, frames=8, every=8),
    "slowonly_r34": Recipe(kind=replace(_BASIC, depths=(3, 4, 6, 3)), frames=8, every=8),
    "slowonly_r50": Recipe(kind=Residual(), frames=8, every=8, top1=74.58, published="SLOW_8x8_R50.pyth"),
    "csn_r50": Recipe(
        kind=_CSN,
        frames=32,
        every=2,
        top1=79.17,
        published=f"{_IRCSN.format('r50')}_20220811-44395bae.pth",
        url=f"{_MMACTION}/v1.0/recognition/csn/{_IRCSN.format('r50')}/",
        license=_IG65M,
        non_commercial=True,
    ),
    "csn_r101": Recipe(
        kind=replace(_CSN, depths=_DEPTHS_101), frames=32, every=2, top1=77.0, published="CSN_32x2_R101.pyth"
    ),
    "csn_r152": Recipe(
        kind=replace(_CSN, depths=_DEPTHS_152),
        frames=32,
        every=2,
        top1=76.25,
        published="vmz_ircsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-5c933ae1.pth",
        url=f"{_MMACTION}/recognition/csn/vmz/",
    ),
    "resnet3d_r18": Recipe(kind=_R3D, frames=16, every=2),
    "resnet3d_r34": Recipe(kind=replace(_R3D, depths=(3, 4, 6, 3)), frames=16, every=2),
}


class ResNet3d(VideoBackbone):
    """A residual clip network by name; temporal: how it downsamples time."""

    trunk: ResidualNetwork

    def __init__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> None:
        recipe = NETWORKS[name]
        kind = _set_temporal(name, recipe.kind, temporal)
        mean, std = _VMZ if recipe.url else KINETICS
        card = VideoCard(
            backbone=name,
            license=recipe.license if recipe.published else "none",
            mean=mean,
            std=std,
            size=(224, 224),
            frames=recipe.frames,
            every=recipe.every,
            embedding=kind.widths[-1],
            top1=recipe.top1,
            published=recipe.published,
            non_commercial=recipe.non_commercial,
        )
        super().__init__(card, ResidualNetwork(kind, in_channels), in_channels)
        self.channels = dict(zip(STAGES, [kind.width, *kind.widths], strict=True))
        sides = (2, 4, 8, 16, 32)
        steps = zip(kind.time_strides, sides, sides, strict=True)
        self.strides = dict(zip(STAGES, steps, strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last stage is the code."""
        features: dict[str, Tensor] = self.trunk(self.normalize(x))
        return features

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, D), pooled as in the published classifier."""
        return mean_of_windows(self(x)[STAGES[-1]])

    def _rename_tensors(self, state: State) -> State:
        if not is_mmaction(state):
            return without_head(state, 5)
        csn = self.card.backbone.startswith("csn")
        self.renormalize(*(_VMZ if csn else _IMAGENET))
        return rename_mmaction(state, csn=csn)

    def _find_weights(self) -> tuple[Path, str]:
        recipe = NETWORKS[self.card.backbone]
        if recipe.url is not None and recipe.published is not None:
            return fetch_url(recipe.url + recipe.published, self.card.backbone), f"mmaction2 {recipe.published}"
        if recipe.published is not None:
            raise manual_download_error(self.card.backbone, recipe.published)
        return super()._find_weights()


def manual_download_error(name: str, published: str) -> WeightsError:
    """Error with the URL of weights that are not downloaded because they have no published sha256."""
    return WeightsError(
        f"the weights of {name} cannot be downloaded automatically, because no sha256 is published. Download "
        f"{_ZOO}/{published} and set it with --weights FILE"
    )


def _set_temporal(name: str, kind: Residual, temporal: Temporal) -> Residual:
    if temporal == "published" or (temporal == "mixed" and kind.strides != (1, 1, 1, 1)):
        return kind  # convolutions of three frames already downsample time, with all frames
    if temporal == "mixed":
        return replace(kind, mix=_HALVED)
    if kind.stem_kernel != 1:
        raise ConfigError(f"{name}: temporal 'stem8' is only for SlowOnly networks; expected 'mixed' or 'published'")
    log.warning("%s with temporal 'stem8' uses only one frame of eight; 'mixed' uses all", name)
    return replace(kind, stem_stride=8)
