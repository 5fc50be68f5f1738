"""PaDiM with wide_resnet50_2 as in the paper (550 channels, 224 px, 3,136 positions): bytes and accuracy of distances.

    python benchmarks/large_backbone.py [--images 209] [--rank 100]

Random weights and noise will do: sizes depend on neither. The Gaussian is fitted from feature maps made one batch at
a time; its statistics, its factors and the peak of the process are printed, and its distances are compared with a
naive float64 computation at some positions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from offnormal.detectors.parts.gaussian import PositionGaussian

CHANNELS, GRID, BATCH = 550, (56, 56), 16
_POSITIONS = 12  # checked naively


def features(images: int, seed: int) -> Iterator[torch.Tensor]:
    """Feature maps (n, 550, 56, 56), channels last, correlated between channels like those of a network."""
    mixing = torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(0)) / CHANNELS**0.5
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, images, BATCH):
        noise = torch.randn(min(BATCH, images - start), *GRID, CHANNELS, generator=generator)
        yield (noise @ mixing).relu_().permute(0, 3, 1, 2)


def naive(train: torch.Tensor, test: torch.Tensor, ridge: torch.Tensor) -> torch.Tensor:
    """Distances (n, p) in float64 of test (n, p, D) from the Gaussian of train (N, p, D)."""
    distances = []
    for x, y in zip(train.double().transpose(0, 1), test.double().transpose(0, 1), strict=True):
        covariance = torch.cov(x.T) + torch.diag(ridge.double())
        z = y - x.mean(0)
        distances.append((z @ torch.linalg.inv(covariance) * z).sum(1).sqrt())
    return torch.stack(distances, 1)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=209)
    parser.add_argument("--rank", type=int)
    args = parser.parse_args()

    chosen = torch.linspace(0, GRID[0] * GRID[1] - 1, _POSITIONS).long()
    print(f"before: peak {peak_mb():.0f} MB")
    gaussian = PositionGaussian(0.01, rank=args.rank, precision="auto")
    samples = []
    start = time.perf_counter()
    with torch.inference_mode():
        for maps in features(args.images, seed=1):
            gaussian.update(maps)
            samples.append(maps.permute(0, 2, 3, 1).flatten(1, 2)[:, chosen].clone())
        moments = gaussian._moments
        assert moments is not None
        print(f"statistics: {moments.nbytes / 1e6:.0f} MB   after gathering: peak {peak_mb():.0f} MB")
        gaussian.finish()
        model = sum(buffer.numel() * buffer.element_size() for buffer in gaussian.buffers())
        print(f"model and bundle: {model / 1e6:.0f} MB in {gaussian.whitener.dtype}   peak {peak_mb():.0f} MB")
        print(f"gathered and solved in {time.perf_counter() - start:.0f} s")
        test = next(features(4, seed=2))
        start = time.perf_counter()
        distances = gaussian.mahalanobis(test).flatten(1)
        print(f"scored 4 images in {time.perf_counter() - start:.2f} s   peak {peak_mb():.0f} MB")
        expected = naive(torch.cat(samples), test.permute(0, 2, 3, 1).flatten(1, 2)[:, chosen], gaussian.ridge)
    error = ((distances[:, chosen] - expected).abs() / expected).max()
    print(f"largest relative error of {expected.numel()} distances against float64: {error:.1e}")


if __name__ == "__main__":
    main()
