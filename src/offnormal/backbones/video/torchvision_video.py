"""Clip networks of torchvision without classifiers: R(2+1)D-18, R3D-18, MC3-18, S3D, and Swin3D-T."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from offnormal.backbones.video.base import State, Temporal, VideoBackbone, VideoCard, make_gray
from offnormal.backbones.video.residual import STAGES, halve_time
from offnormal.backbones.weights import fetch_url
from offnormal.errors import ConfigError

_LICENSE = "BSD-3-Clause code; torchvision states no license of the weights"
_SWIN_SIDE = 4  # pixels of a patch


@dataclass(frozen=True, slots=True)
class Recipe:
    """Weights enumeration, clip length, and embedding of a network."""

    weights: str
    frames: int
    embedding: int
    classifier: str  # name of the removed part


NETWORKS = {
    "r2plus1d_18": Recipe("R2Plus1D_18_Weights", 16, 512, "fc"),
    "r3d_18": Recipe("R3D_18_Weights", 16, 512, "fc"),
    "mc3_18": Recipe("MC3_18_Weights", 16, 512, "fc"),
    "s3d": Recipe("S3D_Weights", 128, 1024, "classifier"),
    "swin3d_t": Recipe("Swin3D_T_Weights", 32, 768, "head"),
}


class _TorchvisionBackbone(VideoBackbone):
    """Common part of torchvision networks: weights and card."""

    def __init__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> None:
        from torchvision.models import video

        if temporal == "stem8":
            raise ConfigError(
                f"{name}: temporal 'stem8' is only for SlowOnly networks; expected 'mixed' or 'published'"
            )

        recipe = NETWORKS[name]
        published = getattr(video, recipe.weights).KINETICS400_V1
        transform = published.transforms()
        card = VideoCard(
            backbone=name,
            license=_LICENSE,
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            size=tuple(transform.crop_size),
            frames=recipe.frames,
            every=2,  # "frame_rate=15" in the notes of all weights
            embedding=recipe.embedding,
            top1=published.meta["_metrics"]["Kinetics-400"]["acc@1"],
            published=published.url.rsplit("/", 1)[-1],
        )
        trunk = getattr(video, name)(weights=None)
        setattr(trunk, recipe.classifier, nn.Identity())
        if in_channels == 1:
            make_gray(trunk)
        super().__init__(card, trunk, in_channels)

    def _rename_tensors(self, state: State) -> State:
        prefix = f"{NETWORKS[self.card.backbone].classifier}."
        return {key: value for key, value in state.items() if not key.startswith(prefix)}

    def _find_weights(self) -> tuple[Path, str]:
        from torchvision.models import video

        weights = NETWORKS[self.card.backbone].weights
        url: str = getattr(video, weights).KINETICS400_V1.url
        return fetch_url(url, self.card.backbone), f"torchvision {weights}.KINETICS400_V1"


class TorchvisionResNet(_TorchvisionBackbone):
    """R(2+1)D-18, R3D-18, and MC3-18 (Tran et al., CVPR 2018).

    They downsample time by 8 with convolutions over all frames, except for MC3 as published, which does not.
    """

    def __init__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> None:
        super().__init__(name, in_channels=in_channels, temporal=temporal)
        self.channels = dict(zip(STAGES, (64, 64, 128, 256, 512), strict=True))
        keeps_time = name == "mc3_18" and temporal == "published"
        times = (1, 1, 1, 1, 1) if keeps_time else (1, 1, 2, 4, 8)
        sides = (2, 2, 4, 8, 16)
        self.halved = ("layer2", "layer3", "layer4") if name == "mc3_18" and not keeps_time else ()
        self.strides = dict(zip(STAGES, zip(times, sides, sides, strict=True), strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last stage is the code."""
        x, features = self.normalize(x), {}
        for name in STAGES:
            x = self.trunk.get_submodule(name)(halve_time(x) if name in self.halved else x)
            features[name] = x
        return features

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 512)."""
        code: Tensor = self(x)[STAGES[-1]]
        return code.mean((2, 3, 4))


_S3D_PARTS = {"stem": (0, 1), "block1": (1, 4), "block2": (4, 7), "block3": (7, 13), "block4": (13, 16)}  # layers


class S3D(_TorchvisionBackbone):
    """S3D (Xie et al., ECCV 2018): separate convolutions in space and time, in blocks of four branches."""

    def __init__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> None:
        super().__init__(name, in_channels=in_channels, temporal=temporal)
        self.channels = dict(zip(_S3D_PARTS, (64, 192, 480, 832, 1024), strict=True))
        times, sides = (2, 2, 2, 4, 8), (2, 4, 8, 16, 32)
        self.strides = dict(zip(_S3D_PARTS, zip(times, sides, sides, strict=True), strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last stage is the code."""
        layers = self.trunk.get_submodule("features")
        assert isinstance(layers, nn.Sequential)
        x, features = self.normalize(x), {}
        for name, (start, stop) in _S3D_PARTS.items():
            x = layers[start:stop](x)
            features[name] = x
        return features

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 1024), pooled in windows of 2x7x7 as in the classifier."""
        code = self(x)["block4"]
        window = [min(side, length) for side, length in zip((2, 7, 7), code.shape[2:], strict=True)]
        return nn.functional.avg_pool3d(code, window, stride=1).mean((2, 3, 4))


class Swin3D(_TorchvisionBackbone):
    """Video Swin Transformer, tiny (Liu et al., CVPR 2022): attention in shifted windows; halves time once."""

    def __init__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> None:
        super().__init__(name, in_channels=in_channels, temporal=temporal)
        stages = [f"stage{number}" for number in (1, 2, 3, 4)]
        self.channels = {stage: 96 * 2**k for k, stage in enumerate(stages)}
        self.strides = {stage: (2, _SWIN_SIDE * 2**k, _SWIN_SIDE * 2**k) for k, stage in enumerate(stages)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last stage is the code."""
        part = self.trunk.get_submodule
        x = part("pos_drop")(part("patch_embed")(self.normalize(x)))  # (N, T, H, W, C) from here
        features = {}
        for number, stage in enumerate(self.channels):
            x = part(f"features.{2 * number}")(x if number == 0 else part(f"features.{2 * number - 1}")(x))
            features[stage] = (part("norm")(x) if number == 3 else x).permute(0, 4, 1, 2, 3)
        return features

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 768)."""
        code: Tensor = self(x)["stage4"]
        return code.mean((2, 3, 4))
