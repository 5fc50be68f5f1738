"""What becomes of a memory that is learnt: positions that recall nothing from it, and items that nothing recalls."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

_STARVED = 0.5  # share of positions that recall nothing, and so learn nothing, from which a warning is due


class MemoryWatch(nn.Module):
    """Counts over an epoch; in no state."""

    def __init__(self, items: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        self.register_buffer("recalled", torch.zeros(items), persistent=False)
        self.register_buffer("_dead", torch.zeros(2), persistent=False)
        self.recalled: Tensor  # (M,) weight that each item had since the last epoch ended
        self._dead: Tensor  # positions that recalled nothing since then, and all positions
        self._warned = False

    @torch.no_grad()
    def see(self, attention: Tensor) -> None:
        """Count the weights of a step (N, M, ...)."""
        self.recalled += by_item(attention).sum(0)
        recalled = attention.sum(1) > 0
        self._dead[0] += (~recalled).sum()
        self._dead[1] += recalled.numel()

    def epoch_ended(self) -> dict[str, float]:
        """Share of the positions that recalled nothing, and of the items that were never recalled; counts anew."""
        if not self._dead[1]:
            return {}
        dead, unused = float(self._dead[0] / self._dead[1]), float((self.recalled == 0).float().mean())
        if dead > _STARVED and not self._warned:
            self._warned = True
            log.warning(
                "%.0f %% of all positions recalled nothing from memory in this epoch, and so taught nothing: none of "
                "their weights was above %.3g. If log.jsonl does not show it to fall, lower --sparsity or --shrink",
                100 * dead,
                self.shrink,
            )
        self._dead.zero_()
        self.recalled.zero_()
        return {"dead_positions": round(dead, 4), "unused_items": round(unused, 4)}


def by_item(attention: Tensor) -> Tensor:
    """Attention (N, M, ...) -> sum of the weights of each item over all positions (N, M)."""
    return attention.flatten(2).sum(2) if attention.ndim > 2 else attention
