"""Networks of clips as they compute fastest when nothing is learnt any more."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn

from offnormal.backbones.folding import find_pairs, fold
from offnormal.backbones.images import TimmBackbone
from offnormal.backbones.video.base import Size, VideoBackbone


def for_inference(backbone: VideoBackbone, size: Size) -> VideoBackbone:
    """A copy of a network that gives the same of clips (T, H, W), and of others, in less time, and cannot learn.

    Batch normalisation is folded into the convolutions before it, and weights lie in channels-last order where that is
    faster. Networks of pictures inside are left as they are: they fold by themselves. Its state is not one that the
    network itself could load. Raises ConfigError for clips that the network cannot take.
    """
    made = copy.deepcopy(backbone)
    made.freeze()
    made.dry_embedding(size)  # which says what is wrong with a size
    pictures = tuple(f"{name}." for name, part in made.named_modules() if isinstance(part, TimmBackbone))
    pairs = find_pairs(made, size, made.in_channels, made.embed)
    fold(made, [pair for pair in pairs if not pair[0].startswith(pictures)])
    for parameter in made.parameters():
        if parameter.ndim == 5 and made.faster_channels_last:  # those of pictures have an order of their own
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    made.freeze()  # what was folded, too
    return made


class InferenceForm:
    """The same network as `for_inference` has it, made anew whenever the network has changed.

    One without batch normalisation in three dimensions, such as a transformer, has nothing to gain and stays itself.
    """

    def __init__(self) -> None:
        self._made: VideoBackbone | None = None
        self._state: tuple[object, ...] = ()  # of the network that it was made of, and the size of its clips

    def of(self, backbone: VideoBackbone, size: Size) -> VideoBackbone:
        """The form of a network in evaluation mode, for clips of (T, H, W)."""
        if not any(isinstance(part, nn.BatchNorm3d) for part in backbone.modules()):
            return backbone
        held = chain(backbone.parameters(), backbone.buffers())
        state = (size, *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in held))
        if self._made is None or state != self._state:
            self._made, self._state = for_inference(backbone, size), state
        return self._made
