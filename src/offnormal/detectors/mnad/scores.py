"""What MNAD's scores are made of (Park et al., CVPR 2020, section 3.3), as its published code computes it (utils.py).

Frames are in 0-1, so that the highest value in the PSNR is 1; the paper has the highest of the predicted frame instead.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from offnormal.detectors.parts.memory import Compat
from offnormal.metrics.video import FloatSeries, min_max

_LOWEST_ERROR = 1e-10  # 100 dB: a frame that was met exactly has a finite PSNR


def squared_error(made: Tensor, frame: Tensor, ignored: Tensor | None = None) -> Tensor:
    """(N, C, H, W) of two frames in 0-1, NaN at ignored pixels (H, W)."""
    error = (made - frame).square()
    return error if ignored is None else error.masked_fill(ignored, torch.nan)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB of squared errors (N, C, H, W); lower = more anomalous (equation 12)."""
    return -10 * torch.log10(error.flatten(1).nanmean(1).clamp(min=_LOWEST_ERROR))


def weighted_error(error: Tensor, compat: Compat = "code") -> Tensor:
    """Error (N,) of squared errors (N, C, H, W) in which large ones weigh more, by 1 - exp(-e) (equations 14 and 15).

    compat: e is the squared error of a channel ("code"), or the length of a pixel's difference ("paper").
    """
    e = error if compat == "code" else error.sum(1).sqrt()
    e = e.flatten(1)
    weights = -torch.expm1(-e)
    return (weights * e).nansum(1) / weights.nansum(1).clamp(min=torch.finfo(e.dtype).tiny)


def scale_of(terms: Tensor) -> Tensor:
    """Mean and standard deviation (2, 2) of PSNR and feature distance on normals (R, 2); of what never varies 1."""
    spread = terms.std(0, correction=0)
    return torch.stack([terms.mean(0), spread.where(spread > 0, 1)], 1)


def headline(psnr_of_frame: Tensor, distance: Tensor, scale: Tensor, share: float) -> Tensor:
    """Scores (N,) of frames by themselves: how far both terms (N,) lie off those of normals, in standard deviations.

    scale: as `scale_of` gives it; share: of the PSNR, whose low values are anomalous.
    """
    mean, spread = scale.unbind(1)
    return share * (mean[0] - psnr_of_frame) / spread[0] + (1 - share) * (distance - mean[1]) / spread[1]


def per_video_score(psnr_of_video: np.ndarray, distance_of_video: np.ndarray, share: float) -> FloatSeries:
    """Scores (T,) of one video as papers have them: each term stretched to 0-1 over the video, then combined.

    share: of the PSNR; the rest is of the feature distance. It is 1 less the published regularity: higher = more
    anomalous. It looks at a whole video before its first frame is judged, and finds something in every video.
    """
    return share * (1 - min_max(psnr_of_video)) + (1 - share) * min_max(distance_of_video)
