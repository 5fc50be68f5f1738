"""Mean and variance of every pixel: statistics that can be merged, and from which samples can be removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from offnormal.errors import FitError

_STILL = 1e-12  # share of the mean square below which a variance is only rounding


@dataclass(frozen=True, slots=True)
class PixelMoments:
    """Count, mean, and sum of squared deviations of P values; combined as in Chan, Golub, and LeVeque (1979)."""

    count: int
    mean: Tensor  # (P,) float64
    squares: Tensor  # (P,) float64, sum of squared deviations from the mean

    @classmethod
    def from_samples(cls, values: Tensor) -> Self:
        """Compute the moments of samples (N, P)."""
        precise = values.double()
        mean = precise.mean(0)
        return cls(len(values), mean, (precise - mean).square_().sum(0))

    def merge(self, other: PixelMoments) -> PixelMoments:
        """Combine with the moments of other samples; the order does not matter."""
        if self.mean.shape != other.mean.shape:
            raise FitError(f"samples of {len(other.mean)} pixels: expected {len(self.mean)}, as before")
        count, gap = self.count + other.count, other.mean - self.mean
        return PixelMoments(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap.square() * (self.count * other.count / count),
        )

    def without(self, part: PixelMoments) -> PixelMoments:
        """Remove the samples of `part`, which must be contained in these moments; FitError if none remain."""
        remaining = self.count - part.count
        if remaining < 1:
            raise FitError(f"cannot remove {part.count} of {self.count} samples: at least one must remain")
        mean = self.mean + (self.mean - part.mean) * (part.count / remaining)
        gap = (part.mean - mean).square() * (remaining * part.count / self.count)
        return PixelMoments(remaining, mean, (self.squares - part.squares - gap).clamp(min=0))

    def variance(self) -> Tensor:
        """(P,) unbiased variance; FitError for fewer than two samples, NaN, or identical samples."""
        if self.count < 2:
            raise FitError(f"got {self.count} of at least 2 normal samples that a variance needs: add more")
        variance = self.squares / (self.count - 1)
        if not float(variance.mean()) > _STILL * float(self.mean.square().mean()):
            raise FitError("all normal images are the same: add normal images that vary")
        return variance

    def leave_one_out(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """For each training sample (N, P): mean and variance (N, P) of all the others.

        Raises FitError with fewer than three samples.
        """
        n = self.count
        if n < 3:
            raise FitError(f"got {n} of at least 3 normal samples that leave-one-out needs: add more")
        gap = values.double() - self.mean
        squares = self.squares - gap.square() * (n / (n - 1))
        return self.mean - gap / (n - 1), squares.clamp_(min=0) / (n - 2)
