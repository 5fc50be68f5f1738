"""How far a vector lies from normal ones: nearest class centroid, shrunk Gaussian, nearest neighbors.

Each learns from rows at once and gives root mean squares per number of the vector, so that they are of one scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Subsample = Literal["coreset", "random"]
_PROJECTED = 128  # numbers that a coreset is chosen by (PatchCore, arXiv 2106.08265, section 3.2, projects likewise)
_LEAST = 1e-6  # of the mean variance: what a direction without any varies by


class Centroids(nn.Module):
    """Distance to the nearest mean of a class: anomalous is what is far from all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", None)
        self.means: Tensor | None  # (C, D)

    def learn(self, rows: Tensor, classes: Tensor) -> None:
        """The means of rows (n, D) by their classes (n,), 0 to C - 1."""
        sums = rows.new_zeros(int(classes.max()) + 1, rows.shape[1]).index_add_(0, classes, rows)
        self.means = sums / torch.bincount(classes, minlength=len(sums))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        assert self.means is not None
        return _per_number(_distances(x, self.means).amin(1), x)


class _ShrunkGaussian(nn.Module):
    """Mahalanobis distance; the covariance is drawn toward a multiple of the identity (Ledoit and Wolf, 2004).

    Directions without data vary by what the shrinkage leaves them, so that fewer rows than numbers are enough.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "directions", "variances", "rest"):
            self.register_buffer(name, None)
        self.mean: Tensor | None  # (D,)
        self.directions: Tensor | None  # (D, R) orthonormal, in which the rows vary
        self.variances: Tensor | None  # (R,) shrunk
        self.rest: Tensor | None  # () variance in all others

    def learn(self, rows: Tensor) -> None:
        """The Gaussian of rows (n, D)."""
        exact = rows.double()
        mean = exact.mean(0)
        centered = exact - mean
        variances, directions = _principal(centered)
        share, scale = shrinkage(centered, variances)
        self.mean = mean.to(rows)
        self.directions = directions.to(rows)
        self.variances = ((1 - share) * variances + share * scale).clamp(min=_LEAST * scale).to(rows)
        self.rest = torch.tensor(max(share, _LEAST) * scale).to(rows)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        assert self.mean is not None and self.directions is not None
        assert self.variances is not None and self.rest is not None
        centered = x - self.mean
        along = centered @ self.directions
        beside = centered - along @ self.directions.T
        total = (along.square() / self.variances).sum(1) + beside.square().sum(1) / self.rest
        return _per_number(total.sqrt(), x)


class Neighbors(nn.Module):
    """Mean distance to the nearest of the rows that are kept."""

    def __init__(self, count: int, budget: int, subsample: Subsample) -> None:
        """count: neighbors; budget: rows kept; subsample: how they are chosen."""
        super().__init__()
        self.count = count
        self.budget = budget
        self.subsample = subsample
        self.register_buffer("kept", None)
        self.kept: Tensor | None  # (M, D)

    def learn(self, rows: Tensor, seed: int) -> None:
        """Keep some of the rows (n, D), or all that the budget allows."""
        if len(rows) > self.budget:
            if self.subsample == "random":
                rows = rows[np.random.default_rng(seed).choice(len(rows), self.budget, replace=False)]
            else:
                rows = rows[coreset(rows, self.budget, seed)]
        self.kept = rows.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        assert self.kept is not None
        nearest: Tensor = _distances(x, self.kept).topk(min(self.count, len(self.kept)), largest=False).values
        return _per_number(nearest.mean(1), x)


class Heads(nn.Module):
    """All of them on the same embeddings, and the nearest class in the autoencoder's latent."""

    def __init__(self, clusters: int, neighbors: Neighbors) -> None:
        super().__init__()
        self.clusters = clusters
        self.centroids = Centroids()
        self.latents = Centroids()
        self.gaussian = _ShrunkGaussian()
        self.neighbors = neighbors

    def learn(self, rows: Tensor, latents: Tensor, names: Sequence[str | None], seed: int) -> None:
        """From embeddings (n, D), their latents (n, L) and the names of their classes, where they are known."""
        classes = classes_of(names, rows, self.clusters, seed).to(rows.device)
        self.centroids.learn(rows, classes)
        self.latents.learn(latents, classes)
        self.gaussian.learn(rows)
        self.neighbors.learn(rows, seed)

    def forward(self, x: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """Embeddings (N, D) and latents (N, L) -> (N,) each, by name."""
        return {
            "centroid": self.centroids(x),
            "mahalanobis": self.gaussian(x),
            "knn": self.neighbors(x),
            "latent": self.latents(latent),
        }


def shrinkage(centered: Tensor, variances: Tensor) -> tuple[float, float]:
    """Ledoit and Wolf's share of the identity for centered rows (n, D), and its multiple, the mean variance.

    variances: the eigenvalues of their covariance that are not 0. Source: Journal of Multivariate Analysis 88 (2004),
    lemma 3.4 and section 3.
    """
    n, width = centered.shape
    scale = float(variances.sum()) / width
    if scale <= 0:
        return 1.0, 1.0  # rows that do not differ
    squared = float(variances.square().sum())
    spread = squared / width - scale**2
    error = (float(centered.square().sum(1).square().sum()) / n**2 - squared / n) / width
    return (min(error, spread) / spread if spread > 0 else 1.0), scale


def coreset(rows: Tensor, size: int, seed: int) -> Tensor:
    """Numbers (size,) of rows (n, D) that cover them all: each is the one farthest from those before (greedy)."""
    if rows.shape[1] > _PROJECTED:
        random = torch.Generator().manual_seed(seed)
        rows = rows @ (torch.randn(rows.shape[1], _PROJECTED, generator=random) / _PROJECTED**0.5).to(rows)
    chosen = [0]
    farthest = (rows - rows[0]).square().sum(1)
    while len(chosen) < size:
        chosen.append(int(farthest.argmax()))
        farthest = torch.minimum(farthest, (rows - rows[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)


def classes_of(names: Sequence[str | None], rows: Tensor, clusters: int, seed: int) -> Tensor:
    """Classes (n,) of rows (n, D): as their names say where all have one, else at most so many clusters (k-means)."""
    if None not in names:
        order = {name: number for number, name in enumerate(sorted({str(name) for name in names}))}
        return torch.tensor([order[str(name)] for name in names])
    from sklearn.cluster import KMeans

    if clusters == 1 or len(rows) <= clusters:
        return torch.zeros(len(rows), dtype=torch.long)
    found = KMeans(clusters, n_init=4, random_state=seed % (1 << 32)).fit_predict(rows.cpu().numpy())
    return torch.from_numpy(np.unique(found, return_inverse=True)[1]).long()


def _principal(centered: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (R,) above rounding and their directions (D, R)."""
    n, width = centered.shape
    if n < width:
        _, values, rows = torch.linalg.svd(centered, full_matrices=False)
        variances, directions = values.square() / n, rows.T
    else:
        variances, directions = torch.linalg.eigh(centered.T @ centered / n)
    real = variances > variances.max().clamp(min=0) * 1e-12
    return variances[real], directions[:, real]


def _distances(x: Tensor, rows: Tensor) -> Tensor:
    """Euclidean distances (N, M), not by way of products: those of near rows would be rounding alone."""
    return torch.cdist(x, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _per_number(distances: Tensor, x: Tensor) -> Tensor:
    """Distances (N,) of vectors (N, D), so that they do not grow with D."""
    return distances / math.sqrt(x.shape[1])
