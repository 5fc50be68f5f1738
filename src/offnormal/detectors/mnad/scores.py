"""Terms of MNAD's score (Park et al., CVPR 2020, section 3.3), as computed by its published code (utils.py).

Frames are in 0-1, so that the peak value in the PSNR is 1; the paper uses the maximum of the predicted frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from offnormal.detectors.parts.memory import Compat
from offnormal.metrics.video import FloatSeries, min_max

_LOWEST_ERROR = 1e-10  # 100 dB: a perfectly predicted frame has a finite PSNR


def squared_error(prediction: Tensor, frame: Tensor, ignored: Tensor | None = None) -> Tensor:
    """(N, C, H, W) of two frames in 0-1, NaN at ignored pixels (H, W)."""
    error = (prediction - frame).square()
    return error if ignored is None else error.masked_fill(ignored, torch.nan)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB of squared errors (N, C, H, W); lower = more anomalous (equation 12)."""
    return -10 * torch.log10(error.flatten(1).nanmean(1).clamp(min=_LOWEST_ERROR))


def weighted_error(error: Tensor, compat: Compat = "code") -> Tensor:
    """Error (N,) of squared errors (N, C, H, W), in which large errors e weigh more, by 1 - exp(-e) (equations 14, 15).

    compat: e is the squared error of a channel ("code"), or the length of a pixel's difference ("paper").
    """
    e = error if compat == "code" else error.sum(1).sqrt()
    e = e.flatten(1)
    weights = -torch.expm1(-e)
    return (weights * e).nansum(1) / weights.nansum(1).clamp(min=torch.finfo(e.dtype).tiny)


def fit_scale(terms: Tensor) -> Tensor:
    """Mean and standard deviation (2, 2) of PSNR and feature distance on normals (R, 2); 1 for constant terms."""
    spread = terms.std(0, correction=0)
    return torch.stack([terms.mean(0), spread.where(spread > 0, 1)], 1)


def combine_terms(psnr_of_frame: Tensor, distance: Tensor, scale: Tensor, share: float) -> Tensor:
    """Scores (N,) of single frames: how much both terms (N,) differ from normals, in standard deviations.

    scale: from `fit_scale`; share: of the PSNR, whose low values are anomalous.
    """
    mean, spread = scale.unbind(1)
    return share * (mean[0] - psnr_of_frame) / spread[0] + (1 - share) * (distance - mean[1]) / spread[1]


def per_video_score(psnr_of_video: np.ndarray, distance_of_video: np.ndarray, share: float) -> FloatSeries:
    """Scores (T,) of one video as in papers: each term scaled to 0-1 over the video, then combined.

    share: of the PSNR; the rest is of the feature distance. The score is 1 - the published regularity: higher = more
    anomalous. It needs the whole video before it can score a frame, and has a maximum in every video.
    """
    return share * (1 - min_max(psnr_of_video)) + (1 - share) * min_max(distance_of_video)
