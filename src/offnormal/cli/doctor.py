"""offnormal doctor."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from offnormal.cli.show import say, say_json
from offnormal.errors import OffnormalError, counted

_PACKAGES = ["torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "matplotlib"]


def command(*, json: bool = False) -> int:
    """Check the installation: versions, weights, devices, and disk; exit with 1 if something is missing.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    rows: list[tuple[str, bool, str]] = [("python", sys.version_info >= (3, 11), platform.python_version())]
    for name in ("offnormal", *_PACKAGES):
        try:
            rows.append((name, True, version(name)))
        except PackageNotFoundError:
            rows.append((name, False, "not installed"))
    rows += [_weights(), *_devices(), _disk()] if all(ok for _, ok, _ in rows) else [_disk()]
    if json:
        say_json([{"check": name, "ok": ok, "result": result} for name, ok, result in rows])
    else:
        for name, ok, result in rows:
            say(f"{'ok' if ok else 'NO':<4} {name:<16} {result}")
    return 0 if all(ok for _, ok, _ in rows) else 1


def _weights() -> tuple[str, bool, str]:
    from offnormal.backbones.weights import lite0_file

    try:
        path = lite0_file()
    except OffnormalError as error:
        return "default weights", False, str(error)
    return "default weights", True, f"EfficientNet-Lite0, {path.stat().st_size / 1e6:.1f} MB, sha256 as expected"


def _devices() -> list[tuple[str, bool, str]]:
    import torch

    rows = [
        (
            "cpu",
            True,
            f"{counted(os.cpu_count() or 1, 'core')}, torch uses {counted(torch.get_num_threads(), 'thread')}",
        )
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            result = torch.cuda.get_device_properties(index)
            rows.append((f"cuda:{index}", True, f"{result.name}, {result.total_memory / 2**30:.0f} GiB"))
    else:
        rows.append(("cuda", True, "no GPU; everything runs on the CPU"))
    return rows


def _disk() -> tuple[str, bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return "disk", free > 200 << 20, f"{free / 2**30:.1f} GiB free here; a run needs about 0.1 GiB"
