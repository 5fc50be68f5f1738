"""Mean and variance of every pixel: sufficient statistics that add up, and what is left without some samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from offnormal.errors import FitError

_STILL = 1e-12  # of the mean square: a variance below it is rounding


@dataclass(frozen=True, slots=True)
class PixelMoments:
    """Count, mean and sum of squared deviations of P values; combined as Chan, Golub and LeVeque (1979) do it."""

    count: int
    mean: Tensor  # (P,) float64
    squares: Tensor  # (P,) float64, sums of squared deviations from the mean

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """Those of samples (N, P)."""
        precise = values.double()
        mean = precise.mean(0)
        return cls(len(values), mean, (precise - mean).square_().sum(0))

    def merged(self, other: PixelMoments) -> PixelMoments:
        """Those of the samples of both; the order does not matter."""
        if self.mean.shape != other.mean.shape:
            raise FitError(f"{len(other.mean)} pixels a sample: those before had {len(self.mean)}")
        count, gap = self.count + other.count, other.mean - self.mean
        return PixelMoments(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap.square() * (self.count * other.count / count),
        )

    def without(self, part: PixelMoments) -> PixelMoments:
        """Those of the samples that `part`, all contained in these, has not; FitError when none are left."""
        left = self.count - part.count
        if left < 1:
            raise FitError(f"{part.count} of {self.count} samples are to be left out: nothing would be left")
        mean = self.mean + (self.mean - part.mean) * (part.count / left)
        gap = (part.mean - mean).square() * (left * part.count / self.count)
        return PixelMoments(left, mean, (self.squares - part.squares - gap).clamp(min=0))

    def variance(self) -> Tensor:
        """(P,) unbiased; FitError with fewer than two samples, NaN, or samples that are all the same."""
        if self.count < 2:
            raise FitError(f"{self.count} sample(s): at least 2 normal samples are needed for a variance")
        variance = self.squares / (self.count - 1)
        if not float(variance.mean()) > _STILL * float(self.mean.square().mean()):
            raise FitError("the normal images are all the same: what varies cannot be learned; give others too")
        return variance

    def left_out(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances (N, P) of all samples but one, for each sample (N, P) of them.

        Raises FitError with fewer than three samples.
        """
        n = self.count
        if n < 3:
            raise FitError(f"{n} samples: at least 3 are needed to leave one out")
        gap = values.double() - self.mean
        squares = self.squares - gap.square() * (n / (n - 1))
        return self.mean - gap / (n - 1), squares.clamp_(min=0) / (n - 2)
