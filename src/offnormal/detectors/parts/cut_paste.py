"""Synthetic anomalies: images with a patch of themselves pasted in another position (CutPaste, arXiv 2104.04015)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from offnormal.data.batches import Batches
from offnormal.metrics.image import auroc

_AREA = (0.02, 0.15)  # share of the image; section 3.1 and appendix of the paper
_ASPECT = (0.3, 3.3)  # height over width
_COPIES = 5  # per image


def cut_paste(images: Tensor, random: torch.Generator) -> Tensor:
    """Copies of images (N, C, H, W), each with a rectangle of itself pasted in another position.

    random: a CPU generator. The sides of the rectangle are at least one pixel and shorter than the image's.
    """
    copies = images.clone()
    height, width = images.shape[-2:]
    for copy, image in zip(copies, images, strict=True):
        drawn = torch.rand(6, generator=random).tolist()
        area = height * width * (_AREA[0] + drawn[0] * (_AREA[1] - _AREA[0]))
        aspect = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** drawn[1]
        h = min(max(1, round(math.sqrt(area * aspect))), height - 1)
        w = min(max(1, round(math.sqrt(area / aspect))), width - 1)
        (y, x), (top, left) = ((int(drawn[k] * (height - h + 1)), int(drawn[k + 1] * (width - w + 1))) for k in (2, 4))
        copy[:, top : top + h, left : left + w] = image[:, y : y + h, x : x + w]
    return copies


@torch.no_grad()
def cut_paste_auroc(terms: Callable[[Tensor], dict[str, Tensor]], normals: Batches, *, seed: int) -> dict[str, float]:
    """AUROC (0-1) of each score in separating normal images from copies with a pasted patch.

    terms: pixels (N, C, H, W) in 0-1 -> scores (N,) by name, higher = more anomalous.
    """
    random = torch.Generator().manual_seed(seed % (1 << 63))
    labels: list[int] = []
    scores: dict[str, list[float]] = {}
    for batch in normals:
        normal = torch.from_numpy(batch.pixels)
        variants = [normal, *(cut_paste(normal, random) for _ in range(_COPIES))]
        for number, pixels in enumerate(variants):
            labels += [int(number > 0)] * len(pixels)
            for name, values in terms(pixels).items():
                scores.setdefault(name, []).extend(values.double().tolist())
    return {name: auroc(labels, values) for name, values in scores.items()}  # empty without normals
