"""Distance of a vector from normal vectors: nearest class centroid, shrunk Gaussian, nearest neighbors.

Each head learns from all rows at once and returns root mean squares per dimension, so that all have the same scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Subsample = Literal["coreset", "random"]
_PROJECTED = 128  # dimensions for the coreset selection (projection as in PatchCore, arXiv 2106.08265, section 3.2)
_MIN_VARIANCE = 1e-6  # minimum variance of a direction, as a share of the mean variance


class Centroids(nn.Module):
    """Distance to the nearest class mean: vectors far from all means are anomalous."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", None)
        self.means: Tensor | None  # (C, D)

    def learn(self, rows: Tensor, classes: Tensor) -> None:
        """Learn the means of rows (n, D) by class (n,), 0 to C - 1."""
        sums = rows.new_zeros(int(classes.max()) + 1, rows.shape[1]).index_add_(0, classes, rows)
        self.means = sums / torch.bincount(classes, minlength=len(sums))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        assert self.means is not None
        return _per_dimension(_distances(x, self.means).amin(1), x)


class _ShrunkGaussian(nn.Module):
    """Mahalanobis distance; the covariance is shrunk toward a multiple of the identity (Ledoit and Wolf, 2004).

    The shrinkage gives directions without data a variance, so that fewer rows than dimensions are enough.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "directions", "variances", "rest"):
            self.register_buffer(name, None)
        self.mean: Tensor | None  # (D,)
        self.directions: Tensor | None  # (D, R) orthonormal directions of the data
        self.variances: Tensor | None  # (R,) variance in each direction, shrunk
        self.rest: Tensor | None  # () variance in all others

    def learn(self, rows: Tensor) -> None:
        """Learn the Gaussian of rows (n, D)."""
        exact = rows.double()
        mean = exact.mean(0)
        centered = exact - mean
        variances, directions = _principal_directions(centered)
        share, scale = shrinkage(centered, variances)
        self.mean = mean.to(rows)
        self.directions = directions.to(rows)
        self.variances = ((1 - share) * variances + share * scale).clamp(min=_MIN_VARIANCE * scale).to(rows)
        self.rest = torch.tensor(max(share, _MIN_VARIANCE) * scale).to(rows)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        assert self.mean is not None and self.directions is not None
        assert self.variances is not None and self.rest is not None
        centered = x - self.mean
        coordinates = centered @ self.directions
        residual = centered - coordinates @ self.directions.T
        total = (coordinates.square() / self.variances).sum(1) + residual.square().sum(1) / self.rest
        return _per_dimension(total.sqrt(), x)


class Neighbors(nn.Module):
    """Mean distance to the nearest stored rows."""

    def __init__(self, count: int, budget: int, subsample: Subsample) -> None:
        """count: neighbors; budget: most stored rows; subsample: how they are selected."""
        super().__init__()
        self.count = count
        self.budget = budget
        self.subsample = subsample
        self.register_buffer("kept", None)

    @property
    def bank(self) -> Tensor | None:
        """(M, D) stored rows; None before `learn`."""
        return self._buffers["kept"]

    def learn(self, rows: Tensor, seed: int) -> None:
        """Store the rows (n, D), or a selection of them within the budget."""
        if len(rows) > self.budget:
            if self.subsample == "random":
                rows = rows[np.random.default_rng(seed).choice(len(rows), self.budget, replace=False)]
            else:
                rows = rows[coreset(rows, self.budget, seed)]
        self.register_buffer("kept", rows.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> (N,)."""
        bank = self.bank
        assert bank is not None
        nearest: Tensor = _distances(x, bank).topk(min(self.count, len(bank)), largest=False).values
        return _per_dimension(nearest.mean(1), x)


class Heads(nn.Module):
    """All heads on the same embeddings, and the distance to the nearest class in the autoencoder's latent."""

    def __init__(self, clusters: int, neighbors: Neighbors) -> None:
        super().__init__()
        self.clusters = clusters
        self.centroids = Centroids()
        self.latents = Centroids()
        self.gaussian = _ShrunkGaussian()
        self.neighbors = neighbors

    def learn(self, rows: Tensor, latents: Tensor, names: Sequence[str | None], seed: int) -> None:
        """Learn from embeddings (n, D), their latents (n, L), and the names of their classes, or None."""
        classes = assign_classes(names, rows, self.clusters, seed).to(rows.device)
        self.centroids.learn(rows, classes)
        self.latents.learn(latents, classes)
        self.gaussian.learn(rows)
        self.neighbors.learn(rows, seed)

    def forward(self, x: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """Embeddings (N, D) and latents (N, L) -> distances (N,) of each head, by name."""
        return {
            "centroid": self.centroids(x),
            "mahalanobis": self.gaussian(x),
            "knn": self.neighbors(x),
            "latent": self.latents(latent),
        }


def shrinkage(centered: Tensor, variances: Tensor) -> tuple[float, float]:
    """Ledoit and Wolf's shrinkage for centered rows (n, D), and the multiple of the identity: the mean variance.

    variances: the nonzero eigenvalues of the covariance. Source: Journal of Multivariate Analysis 88 (2004), lemma 3.4
    and section 3.
    """
    n, width = centered.shape
    scale = float(variances.sum()) / width
    if scale <= 0:
        return 1.0, 1.0  # identical rows
    squared = float(variances.square().sum())
    spread = squared / width - scale**2
    error = (float(centered.square().sum(1).square().sum()) / n**2 - squared / n) / width
    return (min(error, spread) / spread if spread > 0 else 1.0), scale


def coreset(rows: Tensor, size: int, seed: int) -> Tensor:
    """Indices (size,) of rows (n, D) that cover all rows: each is the farthest from those before it (greedy)."""
    if rows.shape[1] > _PROJECTED:
        random = torch.Generator().manual_seed(seed)
        rows = rows @ (torch.randn(rows.shape[1], _PROJECTED, generator=random) / _PROJECTED**0.5).to(rows)
    chosen = [0]
    farthest = (rows - rows[0]).square().sum(1)
    while len(chosen) < size:
        chosen.append(int(farthest.argmax()))
        farthest = torch.minimum(farthest, (rows - rows[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)


def assign_classes(names: Sequence[str | None], rows: Tensor, clusters: int, seed: int) -> Tensor:
    """Class (n,) of each row (n, D): by name if all rows have one, otherwise at most `clusters` clusters (k-means)."""
    if None not in names:
        index_of_name = {name: number for number, name in enumerate(sorted({str(name) for name in names}))}
        return torch.tensor([index_of_name[str(name)] for name in names])
    from sklearn.cluster import KMeans

    if clusters == 1 or len(rows) <= clusters:
        return torch.zeros(len(rows), dtype=torch.long)
    clusters_of_rows = KMeans(clusters, n_init=4, random_state=seed % (1 << 32)).fit_predict(rows.cpu().numpy())
    return torch.from_numpy(np.unique(clusters_of_rows, return_inverse=True)[1]).long()


def _principal_directions(centered: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (R,) above rounding errors, and their directions (D, R)."""
    n, width = centered.shape
    if n < width:
        _, values, rows = torch.linalg.svd(centered, full_matrices=False)
        variances, directions = values.square() / n, rows.T
    else:
        variances, directions = torch.linalg.eigh(centered.T @ centered / n)
    real = variances > variances.max().clamp(min=0) * 1e-12
    return variances[real], directions[:, real]


def _distances(x: Tensor, rows: Tensor) -> Tensor:
    """Euclidean distances (N, M), not computed from dot products: for close rows, those leave only rounding errors."""
    return torch.cdist(x, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _per_dimension(distances: Tensor, x: Tensor) -> Tensor:
    """Distances (N,) of vectors (N, D), scaled so that they do not grow with D."""
    return distances / math.sqrt(x.shape[1])
