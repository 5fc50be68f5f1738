"""Pictures with a piece of themselves pasted elsewhere: anomalies that need no anomaly (CutPaste, arXiv 2104.04015)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from offnormal.data.batches import Batches
from offnormal.metrics.image import auroc

_AREA = (0.02, 0.15)  # share of the picture; the paper's section 3.1 and appendix
_ASPECT = (0.3, 3.3)  # height over width
_COPIES = 5  # of each picture


def cut_paste(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Copies of pictures (N, C, H, W), in each a rectangle of it laid over another place.

    random: a generator of the CPU. Sides of the rectangles are at least one pixel and less than the picture's.
    """
    copies = pictures.clone()
    height, width = pictures.shape[-2:]
    for copy, picture in zip(copies, pictures, strict=True):
        drawn = torch.rand(6, generator=random).tolist()
        area = height * width * (_AREA[0] + drawn[0] * (_AREA[1] - _AREA[0]))
        aspect = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** drawn[1]
        h = min(max(1, round(math.sqrt(area * aspect))), height - 1)
        w = min(max(1, round(math.sqrt(area / aspect))), width - 1)
        (y, x), (top, left) = ((int(drawn[k] * (height - h + 1)), int(drawn[k + 1] * (width - w + 1))) for k in (2, 4))
        copy[:, top : top + h, left : left + w] = picture[:, y : y + h, x : x + w]
    return copies


@torch.no_grad()
def tell_pasted(terms: Callable[[Tensor], dict[str, Tensor]], normals: Batches, *, seed: int) -> dict[str, float]:
    """How well each of several scores tells normals from copies of them with a pasted piece: its AUROC, 0-1.

    terms: pixels (N, C, H, W) in 0-1 -> name and scores (N,) of each, higher = more anomalous.
    """
    random = torch.Generator().manual_seed(seed % (1 << 63))
    labels: list[int] = []
    scores: dict[str, list[float]] = {}
    for batch in normals:
        normal = torch.from_numpy(batch.pixels)
        shown = [normal, *(cut_paste(normal, random) for _ in range(_COPIES))]
        for number, pixels in enumerate(shown):
            labels += [int(number > 0)] * len(pixels)
            for name, values in terms(pixels).items():
                scores.setdefault(name, []).extend(values.double().tolist())
    return {name: auroc(labels, values) for name, values in scores.items()}  # nothing where there are no normals
