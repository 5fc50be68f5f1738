"""What is said when something does not fit into memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from offnormal.errors import OffnormalError

_ON_A_PROCESSOR = ("can't allocate memory", "not enough memory")  # of the RuntimeError that torch's allocator raises


@contextlib.contextmanager
def within_memory(what: str, advice: str, kind: type[OffnormalError] = OffnormalError) -> Iterator[None]:
    """Turn what torch raises when memory runs out into an error of `kind` that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError, too
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in _ON_A_PROCESSOR):
            raise
        place = "of the GPU" if isinstance(error, torch.OutOfMemoryError) else "of this machine"
        raise kind(f"{what} does not fit into the memory {place}: {advice}") from None
