"""Names of tensors in published checkpoints of residual networks -> the names of our own, which are pytorchvideo's.

mmaction2 and ours, k counting stages from 1 and i blocks from 0:

| mmaction2 | ours |
|---|---|
| backbone.conv1.{conv, bn} | blocks.0.{conv, norm} |
| backbone.layer{k}.{i}.conv{1, 2, 3}.{conv, bn} | blocks.{k}.res_blocks.{i}.branch2.{conv, norm}_{a, b, c} |
| backbone.layer{k}.{i}.conv2.0.{conv, bn} (CSN) | blocks.{k}.res_blocks.{i}.branch2.{conv, norm}_b |
| backbone.layer{k}.{i}.downsample.{conv, bn} | blocks.{k}.res_blocks.{i}.branch1_{conv, norm} |
| cls_head.fc_cls | left out |

The prefix `backbone.` is missing in checkpoints that hold a backbone alone.
"""

from __future__ import annotations

import re

from torch import Tensor

_CSN_EPS, _EPS = 1e-3, 1e-5  # of batch normalization: mmaction2's ResNet3dCSN, and everybody else's
_PART = {"conv": "conv", "bn": "norm"}
_STEM = re.compile(r"conv1\.(conv|bn)\.(.+)")
_BRANCH = re.compile(r"layer(\d)\.(\d+)\.conv([123])\.(?:0\.)?(conv|bn)\.(.+)")
_SHORTCUT = re.compile(r"layer(\d)\.(\d+)\.downsample\.(conv|bn)\.(.+)")


def is_mmaction(state: dict[str, Tensor]) -> bool:
    """Whether these are mmaction2's names."""
    return any(re.match(r"(backbone\.)?layer1\.0\.conv1\.conv\.", key) for key in state)


def from_mmaction(state: dict[str, Tensor], *, csn: bool) -> dict[str, Tensor]:
    """mmaction2's names -> ours, without the classifier; unknown names stay as they are.

    csn: its batch normalization adds 1e-3 to variances where ours adds 1e-5; the difference goes into the variances.
    """
    found = {}
    for key, value in state.items():
        if key.startswith("cls_head."):
            continue
        name = _ours(key.removeprefix("backbone."))
        found[name] = value + (_CSN_EPS - _EPS) if csn and name.endswith("running_var") else value
    return found


def _ours(key: str) -> str:
    if match := _STEM.fullmatch(key):
        return f"blocks.0.{_PART[match[1]]}.{match[2]}"
    if match := _BRANCH.fullmatch(key):
        stage, block, number, part, rest = match.groups()
        return f"blocks.{stage}.res_blocks.{block}.branch2.{_PART[part]}_{'abc'[int(number) - 1]}.{rest}"
    if match := _SHORTCUT.fullmatch(key):
        stage, block, part, rest = match.groups()
        return f"blocks.{stage}.res_blocks.{block}.branch1_{_PART[part]}.{rest}"
    return key


def without_head(state: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """pytorchvideo's names without the classifier, which is block `number`."""
    return {key: value for key, value in state.items() if not key.startswith(f"blocks.{number}.proj.")}
