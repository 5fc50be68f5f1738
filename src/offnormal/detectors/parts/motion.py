"""Appearance and motion in one embedding: features of a frame, and how much they changed since an earlier frame.

Random projections keep distances approximately (Johnson and Lindenstrauss, 1984) in far fewer dimensions, so that one
Gaussian can model appearance and motion jointly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offnormal.errors import ConfigError


class MotionProjection(nn.Module):
    """Features (N, h, w, D) of a frame and of an earlier frame -> (N, h, w, appearance + motion).

    The projections are Gaussian, drawn from `seed`, and saved with the detector.
    """

    def __init__(self, channels: int, appearance: int, motion: int, seed: int) -> None:
        super().__init__()
        if max(appearance, motion) > channels:
            raise ConfigError(
                f"--appearance-features {appearance} and --motion-features {motion}: expected at most {channels}, "
                "the channels of the layers"
            )
        generator = torch.Generator().manual_seed(seed)
        for name, size in (("appearance", appearance), ("motion", motion)):
            self.register_buffer(name, torch.randn(channels, size, generator=generator) / size**0.5)
        self.appearance: Tensor  # (D, appearance)
        self.motion: Tensor  # (D, motion)

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Features (N, h, w, D) of both frames -> (N, h, w, appearance + motion)."""
        return torch.cat([later @ self.appearance, (later - earlier).abs() @ self.motion], -1)


def distinct_frames(x: Tensor) -> tuple[Tensor, Tensor]:
    """Clips (N, C, 2, H, W) -> distinct frames (M, C, H, W), later ones first, and indices (N,) of earlier frames.

    In a batch of overlapping clips, most earlier frames are the later frames of other clips and are computed only once.
    """
    earlier, later = x[:, :, 0], x[:, :, 1]
    sums = earlier.sum((1, 2, 3)).tolist(), later.sum((1, 2, 3)).tolist()
    indices: list[int] = []
    added: list[int] = []
    offset = 1  # offset between two clips that share a frame: constant within a video
    for i in range(len(x)):
        for step in (offset, *range(1, i + 1)):
            if step <= i and sums[0][i] == sums[1][i - step] and torch.equal(earlier[i], later[i - step]):
                indices.append(i - step)
                offset = step
                break
        else:
            indices.append(len(x) + len(added))
            added.append(i)
    return torch.cat([later, earlier[added]]), torch.tensor(indices, device=x.device)
