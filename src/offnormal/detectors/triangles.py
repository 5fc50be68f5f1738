"""Upper triangular matrices kept without most of their zeros, and the lengths of vectors multiplied by them.

A triangle of R columns is cut into up to four blocks of columns; of each block only the rows above its last
diagonal element are kept, so that 62 % of the numbers remain and every block is one matrix product.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_BLOCKS = 4
_WORTH_CUTTING = 64  # columns below which cutting costs more than it saves
_CACHED_BYTES = 2 << 20  # of unpacked matrices at once, when they are kept in another precision


def _edges(size: int) -> list[tuple[int, int]]:
    blocks = _BLOCKS if size >= _WORTH_CUTTING else 1
    return list(itertools.pairwise(round(size * i / blocks) for i in range(blocks + 1)))


def packed_size(size: int) -> int:
    """Numbers kept of one triangle with `size` columns."""
    return sum(end * (end - start) for start, end in _edges(size))


def pack(upper: Tensor) -> Tensor:
    """Upper triangular matrices (P, R, R) -> (P, T)."""
    return torch.cat([upper[:, :end, start:end].flatten(1) for start, end in _edges(upper.shape[-1])], 1)


def unpack(packed: Tensor, size: int) -> Tensor:
    """(P, T) -> upper triangular matrices (P, R, R), R = size."""
    upper = packed.new_zeros(len(packed), size, size)
    for (start, end), block in zip(_edges(size), _views(packed, size), strict=True):
        upper[:, :end, start:end] = block
    return upper


def squared_lengths(x: Tensor, packed: Tensor) -> Tensor:
    """Squared lengths (P, N) of the rows x U for x (P, N, R) and triangles U packed as (P, T).

    Triangles kept in half precision are multiplied in that of x, a cacheful at a time; those in bfloat16 as they
    are where the processor or GPU has instructions for it. Sums are in the precision of x.
    """
    if packed.dtype == x.dtype:
        return _squared(x, packed)
    if packed.dtype == torch.bfloat16 and _multiplies_bfloat16(x.device):
        return _squared(x.bfloat16(), packed, sums=x.dtype)
    step = max(1, _CACHED_BYTES // (packed.shape[1] * x.element_size()))
    pieces = range(0, len(x), step)
    return torch.cat([_squared(x[i : i + step], packed[i : i + step].to(x.dtype)) for i in pieces])


def _squared(x: Tensor, packed: Tensor, sums: torch.dtype | None = None) -> Tensor:
    total = x.new_zeros(x.shape[:2], dtype=sums or x.dtype)
    for (_, end), block in zip(_edges(x.shape[2]), _views(packed, x.shape[2]), strict=True):
        total += torch.bmm(x[..., :end], block).to(total.dtype).square_().sum(-1)
    return total


def _views(packed: Tensor, size: int) -> list[Tensor]:
    """The blocks (P, rows, columns) of packed triangles, without copying."""
    widths = [end * (end - start) for start, end in _edges(size)]
    parts = torch.split(packed, widths, dim=1)
    return [part.view(len(packed), end, -1) for part, (_, end) in zip(parts, _edges(size), strict=True)]


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
