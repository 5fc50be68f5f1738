"""Fewer samples than a loader has, where more would not be worth their memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from offnormal.data.batches import Batch, Batches


def thin_out(loader: Batches, most: int) -> Iterator[Batch]:
    """Batches of at most about so many samples of a loader, evenly spread over all; without masks and frames."""
    every = math.ceil(len(loader) / most)
    start = 0
    for batch in loader:
        chosen = list(range(-start % every, len(batch.samples), every))
        start += len(batch.samples)
        if chosen:
            yield Batch(batch.pixels[chosen], [batch.samples[number] for number in chosen], None)
