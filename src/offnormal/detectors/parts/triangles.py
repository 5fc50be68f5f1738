"""Upper triangular matrices stored without most of their zeros, and the lengths of vectors multiplied by them.

A triangle of R columns is cut into up to four blocks of columns. Each block stores only the rows down to its last
diagonal element, so that 62 % of the numbers remain. The first blocks of all positions are stored together, then the
second blocks, and so on: every block is one batched matrix product over contiguous memory, which runs at memory speed
even for a single vector.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_BLOCKS = 4
_WORTH_CUTTING = 64  # with fewer columns, cutting costs more than it saves
_CACHED_BYTES = 2 << 20  # of matrices converted to full precision at once


def _edges(size: int) -> list[tuple[int, int]]:
    blocks = _BLOCKS if size >= _WORTH_CUTTING else 1
    return list(itertools.pairwise(round(size * i / blocks) for i in range(blocks + 1)))


def packed_size(size: int) -> int:
    """Number of values stored for one triangle of `size` columns."""
    return sum(end * (end - start) for start, end in _edges(size))


def write_packed(packed: Tensor, positions: slice, upper: Tensor) -> None:
    """Write the triangles (p, R, R) of some positions into packed ones (P * packed_size(R),)."""
    size = upper.shape[-1]
    for (start, end), block in zip(_edges(size), _views(packed, size), strict=True):
        block[positions] = upper[:, :end, start:end].to(packed.dtype)


def unpack(packed: Tensor, size: int) -> Tensor:
    """Packed triangles -> (P, R, R), R = size."""
    views = _views(packed, size)
    upper = packed.new_zeros(len(views[0]), size, size)
    for (start, end), block in zip(_edges(size), views, strict=True):
        upper[:, :end, start:end] = block
    return upper


def squared_lengths(x: Tensor, packed: Tensor, positions: slice = slice(None)) -> Tensor:
    """Squared lengths (p, N) of the rows x U, for x (p, N, R) and the packed triangles U of these positions.

    Triangles in half precision are converted to the precision of x, one cacheful at a time; bfloat16 is multiplied as
    it is if the hardware supports it. Sums are computed in the precision of x.
    """
    blocks = [block[positions] for block in _views(packed, x.shape[2])]
    if packed.dtype == x.dtype:
        return _sum_of_squares(x, blocks, x.dtype)
    if packed.dtype == torch.bfloat16 and _multiplies_bfloat16(x.device):
        return _sum_of_squares(x.bfloat16(), blocks, x.dtype)
    step = max(1, _CACHED_BYTES // (packed_size(x.shape[2]) * x.element_size()))
    pieces = (slice(i, i + step) for i in range(0, len(x), step))
    return torch.cat([_sum_of_squares(x[i], [block[i].to(x.dtype) for block in blocks], x.dtype) for i in pieces])


def _sum_of_squares(x: Tensor, blocks: list[Tensor], sums: torch.dtype) -> Tensor:
    total = x.new_zeros(x.shape[:2], dtype=sums)
    for block in blocks:
        total += torch.bmm(x[..., : block.shape[1]], block).to(sums).square_().sum(-1)
    return total


def _views(packed: Tensor, size: int) -> list[Tensor]:
    """Views (P, rows, columns) of the blocks of packed triangles."""
    positions = len(packed) // packed_size(size)
    shapes = [(positions, end, end - start) for start, end in _edges(size)]
    parts = torch.split(packed, [positions * rows * columns for _, rows, columns in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
