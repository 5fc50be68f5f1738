"""Are the rates of incidents true? Simulated days of one camera: one to calibrate on, then others.

    python benchmarks/incident_rates.py --draws 1000

Prints, for each kind of stream, how often the incidents of the next day are inside the printed 95 % interval, and how
often the mean rate of the following days is above the one that `--confidence 95` states. Kinds: noise with a daily
cycle, visits of twenty events an hour, a lamp that flickers, and noise that is correlated for minutes.
"""

from __future__ import annotations

import argparse

import numpy as np

from offnormal.errors import CalibrationError
from offnormal.events.budget import budget_incidents
from offnormal.events.footage import Footage
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

STEP_S = 2.0
FRAMES = int(86400 / STEP_S)
RULES = EventRules(min_duration_s=2.0)


def correlated(rng: np.random.Generator, frames: int, share: float) -> np.ndarray:
    """Noise with variance 1 whose neighbors correlate by `share`."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([(1 - share**2) ** 0.5], [1, -share], rng.normal(size=frames)))


def diurnal(rng: np.random.Generator) -> np.ndarray:
    """Noise that is twice as high by day, and a few passers-by in the day."""
    hour = np.arange(FRAMES) * STEP_S / 3600
    day = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, 1)
    scores = (1 + day) * correlated(rng, FRAMES, 0.9)
    for start in np.flatnonzero(rng.random(FRAMES) < 12 * day / FRAMES * np.pi):
        scores[start : start + rng.integers(2, 30)] += rng.exponential(4)
    return scores


def bursty(rng: np.random.Generator) -> np.ndarray:
    """Six visits a day of half an hour on average, each with twenty events an hour."""
    scores = correlated(rng, FRAMES, 0.9)
    for start in rng.integers(0, FRAMES, rng.poisson(6)):
        height, frames = rng.exponential(4), int(rng.exponential(1800) / STEP_S) + 1
        for event in start + np.flatnonzero(rng.random(frames) < 20 * STEP_S / 3600):
            scores[event : event + rng.integers(2, 15)] += height + rng.exponential(2)
    return scores


def lamp(rng: np.random.Generator) -> np.ndarray:
    """A lamp that is on for some hours at night and flickers while it is on."""
    scores = correlated(rng, FRAMES, 0.9)
    start, frames = int(rng.integers(0, FRAMES // 2)), int(rng.exponential(3 * 3600) / STEP_S)
    flickers = start + np.flatnonzero(rng.random(frames) < 4 * STEP_S / 3600)
    for flicker in flickers[flickers < FRAMES]:
        scores[flicker : flicker + 5] += 3 + rng.exponential(2)
    return scores


def slow(rng: np.random.Generator) -> np.ndarray:
    """Noise that is correlated for minutes."""
    return correlated(rng, FRAMES, 0.99) + 0.2 * rng.normal(size=FRAMES)


def as_video(scores: np.ndarray) -> FrameScores:
    """The scores of one day."""
    return FrameScores("day", scores, times_s=np.arange(FRAMES) * STEP_S)


def main() -> None:
    """Run the simulations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--days", type=int, default=4, help="days whose mean rate is compared with the bound")
    arguments = parser.parse_args()
    print(f"{'stream':10} {'interval holds':>15} {'mean rate of 6':>15} {'bound of 12 broken':>19} {'refused':>8}")
    for draw in (diurnal, bursty, lamp, slow):
        inside, means, broken, refused = [], [], [], 0
        for seed in range(arguments.draws):
            rng = np.random.default_rng([seed, 7])
            first, *others = [as_video(draw(rng)) for _ in range(1 + arguments.days)]
            days = [Footage([day], RULES) for day in others]
            options = {"rules": RULES, "kind": "held_out", "bundle": ""}
            expected = budget_incidents([first], None, rate=Rate(6, "day"), **options)
            counts = [day.count(expected.calibration.threshold, expected.low_threshold).incidents for day in days]
            low, high = expected.calibration.interval
            inside.append(low <= counts[0] <= high)
            means.append(np.mean(counts))
            try:
                bound = budget_incidents([first], None, rate=Rate(12, "day"), confidence=95, **options)
            except CalibrationError:
                refused += 1
                continue
            mean = np.mean([day.count(bound.calibration.threshold, bound.low_threshold).incidents for day in days])
            broken.append(mean > 12)
        print(
            f"{draw.__name__:10} {np.mean(inside):>15.1%} {np.mean(means):>15.2f} {np.mean(broken):>19.1%} {refused:>8}"
        )


if __name__ == "__main__":
    main()
