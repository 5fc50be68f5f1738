"""Appearance and motion in one embedding: features of a frame beside how much they changed since shortly before.

Both are projected at random, which keeps distances about as they were (Johnson and Lindenstrauss, 1984) in far
fewer dimensions, so that one Gaussian can know how they go together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offnormal.errors import ConfigError


class MotionProjection(nn.Module):
    """Features (N, h, w, D) of a frame and of an earlier one -> (N, h, w, appearance + motion).

    The projections are Gaussian, of `seed`, and saved with the detector.
    """

    def __init__(self, channels: int, appearance: int, motion: int, seed: int) -> None:
        super().__init__()
        if max(appearance, motion) > channels:
            raise ConfigError(
                f"--appearance-features {appearance} and --motion-features {motion}: expected at most the {channels} "
                "channels of the layers"
            )
        generator = torch.Generator().manual_seed(seed)
        for name, size in (("appearance", appearance), ("motion", motion)):
            self.register_buffer(name, torch.randn(channels, size, generator=generator) / size**0.5)
        self.appearance: Tensor  # (D, appearance)
        self.motion: Tensor  # (D, motion)

    def forward(self, earlier: Tensor, now: Tensor) -> Tensor:
        """Features (N, h, w, D) of both frames -> (N, h, w, appearance + motion)."""
        return torch.cat([now @ self.appearance, (now - earlier).abs() @ self.motion], -1)


def distinct_frames(x: Tensor) -> tuple[Tensor, Tensor]:
    """Clips (N, C, 2, H, W) -> the frames in them (M, C, H, W), the later ones first, and where the earlier lie (N,).

    In batches of overlapping clips most earlier frames are later ones of clips before, and need computing once only.
    """
    earlier, later = x[:, :, 0], x[:, :, 1]
    sums = earlier.sum((1, 2, 3)).tolist(), later.sum((1, 2, 3)).tolist()
    places: list[int] = []
    added: list[int] = []
    apart = 1  # clips between those that share a frame: the same throughout a video
    for i in range(len(x)):
        for back in (apart, *range(1, i + 1)):
            if back <= i and sums[0][i] == sums[1][i - back] and torch.equal(earlier[i], later[i - back]):
                places.append(i - back)
                apart = back
                break
        else:
            places.append(len(x) + len(added))
            added.append(i)
    return torch.cat([later, earlier[added]]), torch.tensor(places, device=x.device)
