"""Random views of clips; all frames of a clip get the same transform, so that motion stays as it was.

Transforms and strengths follow the offline augmentation of enrico310786/action_video_autoencoder (albumentations'
ReplayCompose): rotation, color shifts, brightness and contrast, blur, dropped pixels. Scale and crop follow its
training (short side 128 to 171 for a crop of 112, and so on); grid distortion is omitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

VERSION = 1  # changes when a seed gives another view
_DEGREES = 5.0
_ZOOM = (1.0, 1.25)  # short side relative to the crop; data.py: 256 to 320 px and a crop of 256
_COLOR = 50 / 255  # largest shift of a channel
_LIGHT = 0.2  # largest change of brightness and of contrast
_BLUR = (0.5, 1.0)  # standard deviation in pixels; kernels of 2 to 4 pixels there
_DROPPED = 0.02  # share of pixels set to black, and share set to white
_P_COLOR_OR_ROTATION, _P_BLUR_OR_DROP = 0.6, 0.5  # probability of each transform


def view(clip: Tensor, seed: int) -> Tensor:
    """An image (C, H, W) or clip (C, T, H, W) in 0-1 -> a random view; random numbers are drawn on the CPU only."""
    random = torch.Generator().manual_seed(seed)
    frames = clip.transpose(0, 1) if clip.ndim == 4 else clip[None]  # (T, C, H, W)
    frames = _move_crop(frames, random)
    frames = _shift_colors(frames, random)
    if _draw(random) < _P_BLUR_OR_DROP:
        frames = _blur(frames, _draw_between(*_BLUR, random))
    for value in (0.0, 1.0):
        if _draw(random) < _P_BLUR_OR_DROP:
            dropped = torch.rand(frames.shape[2:], generator=random) < _DROPPED
            frames = frames.masked_fill(dropped.to(frames.device), value)
    frames = frames.clamp(0, 1)
    return frames.transpose(0, 1) if clip.ndim == 4 else frames[0]


def views(clips: Tensor, seeds: Sequence[int]) -> Tensor:
    """One view of each image or clip (N, C, ...), determined by its seed."""
    return torch.stack([view(clip, seed) for clip, seed in zip(clips, seeds, strict=True)])


def sample_views(clips: Tensor, count: int) -> Tensor:
    """A random view of each sample (N, C, ...), or once in count + 1 the sample; seeds from torch's generator."""
    seeds = torch.randint(1 << 62, (len(clips),)).tolist()
    is_view = torch.randint(count + 1, (len(clips),)).tolist()
    pairs = zip(clips, seeds, is_view, strict=True)
    return torch.stack([view(clip, seed) if use_view else clip for clip, seed, use_view in pairs])


def _move_crop(frames: Tensor, random: Generator) -> Tensor:
    """Rotate, enlarge, and crop at a random position; pixels from outside mirror those inside."""
    height, width = frames.shape[2:]
    zoom = _draw_between(*_ZOOM, random)
    angle = math.radians(_draw_between(-_DEGREES, _DEGREES, random)) if _draw(random) < _P_COLOR_OR_ROTATION else 0.0
    margin = 1 - 1 / zoom  # largest offset of the crop's center, in half image sizes
    across, down = (_draw_between(-margin, margin, random) for _ in range(2))
    cos, sin, aspect = math.cos(angle) / zoom, math.sin(angle) / zoom, height / width
    transform = torch.tensor([[cos, -sin * aspect, across], [sin / aspect, cos, down]], dtype=frames.dtype)
    grid = F.affine_grid(transform.expand(len(frames), 2, 3).to(frames.device), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)


def _shift_colors(frames: Tensor, random: Generator) -> Tensor:
    if _draw(random) < _P_COLOR_OR_ROTATION:
        shift = (2 * torch.rand(frames.shape[1], generator=random) - 1) * _COLOR
        frames = frames + shift.to(frames)[:, None, None]
    if _draw(random) < _P_COLOR_OR_ROTATION:
        contrast, brightness = 1 + _draw_between(-_LIGHT, _LIGHT, random), _draw_between(-_LIGHT, _LIGHT, random)
        frames = frames * contrast + brightness
    return frames


def _blur(frames: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian kernel of 5 x 5 pixels."""
    positions = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(frames)
    channels = frames.shape[1]
    padded = F.pad(frames, (2, 2, 2, 2), mode="reflect")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _draw(random: Generator) -> float:
    return float(torch.rand((), generator=random))


def _draw_between(low: float, high: float, random: Generator) -> float:
    return low + (high - low) * _draw(random)
