"""Tensor names of published checkpoints of residual networks -> the names of this package, as in pytorchvideo.

Stages k count from 1 and blocks i from 0:

| mmaction2 | here |
|---|---|
| backbone.conv1.{conv, bn} | blocks.0.{conv, norm} |
| backbone.layer{k}.{i}.conv{1, 2, 3}.{conv, bn} | blocks.{k}.res_blocks.{i}.branch2.{conv, norm}_{a, b, c} |
| backbone.layer{k}.{i}.conv2.0.{conv, bn} (CSN) | blocks.{k}.res_blocks.{i}.branch2.{conv, norm}_b |
| backbone.layer{k}.{i}.downsample.{conv, bn} | blocks.{k}.res_blocks.{i}.branch1_{conv, norm} |
| cls_head.fc_cls | skipped |

The prefix `backbone.` is missing in checkpoints of a backbone alone.
"""

from __future__ import annotations

import re

from torch import Tensor

_CSN_EPS, _EPS = 1e-3, 1e-5  # of batch normalization: ResNet3dCSN of mmaction2, and all others
_PART = {"conv": "conv", "bn": "norm"}
_STEM = re.compile(r"conv1\.(conv|bn)\.(.+)")
_BRANCH = re.compile(r"layer(\d)\.(\d+)\.conv([123])\.(?:0\.)?(conv|bn)\.(.+)")
_SHORTCUT = re.compile(r"layer(\d)\.(\d+)\.downsample\.(conv|bn)\.(.+)")


def is_mmaction(state: dict[str, Tensor]) -> bool:
    """Whether the names are from mmaction2."""
    return any(re.match(r"(backbone\.)?layer1\.0\.conv1\.conv\.", key) for key in state)


def rename_mmaction(state: dict[str, Tensor], *, csn: bool) -> dict[str, Tensor]:
    """Rename tensors of mmaction2, without the classifier; unknown names do not change.

    csn: batch normalization adds 1e-3 to variances there and 1e-5 here, so the difference is added to the variances.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith("cls_head."):
            continue
        name = _rename(key.removeprefix("backbone."))
        renamed[name] = value + (_CSN_EPS - _EPS) if csn and name.endswith("running_var") else value
    return renamed


def _rename(key: str) -> str:
    if match := _STEM.fullmatch(key):
        return f"blocks.0.{_PART[match[1]]}.{match[2]}"
    if match := _BRANCH.fullmatch(key):
        stage, block, number, part, suffix = match.groups()
        return f"blocks.{stage}.res_blocks.{block}.branch2.{_PART[part]}_{'abc'[int(number) - 1]}.{suffix}"
    if match := _SHORTCUT.fullmatch(key):
        stage, block, part, suffix = match.groups()
        return f"blocks.{stage}.res_blocks.{block}.branch1_{_PART[part]}.{suffix}"
    return key


def without_head(state: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Remove the classifier of pytorchvideo, which is block `number`."""
    return {key: value for key, value in state.items() if not key.startswith(f"blocks.{number}.proj.")}
