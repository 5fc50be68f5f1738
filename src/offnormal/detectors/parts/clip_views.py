"""Random views of clips: one draw for all frames of a clip, so that what moves in it moves as before.

Kinds and strengths follow the offline augmentation of enrico310786/action_video_autoencoder (albumentations'
ReplayCompose): rotation, shifts of colors, brightness and contrast, blur, dropped pixels. Scale and crop are those of
its training (short side 128 to 171 for a crop of 112 and the like), the warping of its grids is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

VERSION = 1  # of what a seed gives
_DEGREES = 5.0
_ZOOM = (1.0, 1.25)  # the short side, in crops; data.py: 256 to 320 px and a crop of 256
_COLOR = 50 / 255  # largest shift of a channel
_LIGHT = 0.2  # largest change of brightness, and share of contrast
_BLUR = (0.5, 1.0)  # pixels, standard deviation; kernels of 2 to 4 pixels there
_DROPPED = 0.02  # share of the pixels, once to black and once to white
_OFTEN, _HALF = 0.6, 0.5  # chances of each kind


def view(clip: Tensor, seed: int) -> Tensor:
    """A picture (C, H, W) or clip (C, T, H, W) in 0-1 -> another view of it; random numbers on the CPU alone."""
    random = torch.Generator().manual_seed(seed)
    frames = clip.transpose(0, 1) if clip.ndim == 4 else clip[None]  # (T, C, H, W)
    frames = _moved(frames, random)
    frames = _colored(frames, random)
    if _draw(random) < _HALF:
        frames = _blurred(frames, _between(*_BLUR, random))
    for value in (0.0, 1.0):
        if _draw(random) < _HALF:
            dropped = torch.rand(frames.shape[2:], generator=random) < _DROPPED
            frames = frames.masked_fill(dropped.to(frames.device), value)
    frames = frames.clamp(0, 1)
    return frames.transpose(0, 1) if clip.ndim == 4 else frames[0]


def views(clips: Tensor, seeds: Sequence[int]) -> Tensor:
    """A view of each of several pictures or clips (N, C, ...), which its seed decides."""
    return torch.stack([view(clip, seed) for clip, seed in zip(clips, seeds, strict=True)])


def some_views(clips: Tensor, count: int) -> Tensor:
    """A random view of each of (N, C, ...), or one time in count + 1 itself; seeds from torch's own generator."""
    seeds = torch.randint(1 << 62, (len(clips),)).tolist()
    plain = torch.randint(count + 1, (len(clips),)).tolist()
    pairs = zip(clips, seeds, plain, strict=True)
    return torch.stack([view(clip, seed) if chosen else clip for clip, seed, chosen in pairs])


def _moved(frames: Tensor, random: Generator) -> Tensor:
    """Turned, enlarged and cut at a random place; what comes in from outside mirrors what is inside."""
    height, width = frames.shape[2:]
    zoom = _between(*_ZOOM, random)
    angle = math.radians(_between(-_DEGREES, _DEGREES, random)) if _draw(random) < _OFTEN else 0.0
    room = 1 - 1 / zoom  # of the center of the crop, in halves of the picture
    across, down = (_between(-room, room, random) for _ in range(2))
    cos, sin, aspect = math.cos(angle) / zoom, math.sin(angle) / zoom, height / width
    turn = torch.tensor([[cos, -sin * aspect, across], [sin / aspect, cos, down]], dtype=frames.dtype)
    grid = F.affine_grid(turn.expand(len(frames), 2, 3).to(frames.device), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)


def _colored(frames: Tensor, random: Generator) -> Tensor:
    if _draw(random) < _OFTEN:
        shift = (2 * torch.rand(frames.shape[1], generator=random) - 1) * _COLOR
        frames = frames + shift.to(frames)[:, None, None]
    if _draw(random) < _OFTEN:
        contrast, brightness = 1 + _between(-_LIGHT, _LIGHT, random), _between(-_LIGHT, _LIGHT, random)
        frames = frames * contrast + brightness
    return frames


def _blurred(frames: Tensor, sigma: float) -> Tensor:
    """By a Gaussian over 5 x 5 pixels."""
    steps = torch.arange(-2.0, 3.0)
    line = torch.exp(-(steps**2) / (2 * sigma**2))
    line = (line / line.sum()).to(frames)
    channels = frames.shape[1]
    padded = F.pad(frames, (2, 2, 2, 2), mode="reflect")
    across = F.conv2d(padded, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _draw(random: Generator) -> float:
    return float(torch.rand((), generator=random))


def _between(low: float, high: float, random: Generator) -> float:
    return low + (high - low) * _draw(random)
