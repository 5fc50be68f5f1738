"""Names of detectors and layouts -> classes, imported only when asked for; plug-ins through entry points.

A package adds its own through the entry-point groups `offnormal.detectors` and `offnormal.layouts`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from offnormal.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a class lives and what it is, said without importing it."""

    target: str  # "package.module:Class"
    summary: str


_BUILT_IN: dict[str, dict[str, Entry]] = {
    "detectors": {
        "padim": Entry(
            "offnormal.detectors.padim:Padim",
            "a Gaussian of pretrained features at every position; parts that lie alike, fixed cameras (--motion)",
        ),
        "ganomaly": Entry(
            "offnormal.detectors.ganomaly:Ganomaly",
            "a generator that reconstructs small normal pictures, learnt against a discriminator; a baseline",
        ),
        "memae": Entry(
            "offnormal.detectors.memae:MemAE",
            "an autoencoder that can only recall normal patterns from a memory; clips of cameras, or pictures",
        ),
        "pixel_gaussian": Entry(
            "offnormal.detectors.pixel_gaussian:PixelGaussian",
            "a baseline: mean and variance of every pixel of small grey frames; fixed cameras",
        ),
        "frame_difference": Entry(
            "offnormal.detectors.frame_difference:FrameDifference",
            "a baseline: more change than usual since shortly before; videos of fixed cameras",
        ),
    },
    "layouts": {  # tried in this order on a folder, the general ones, videos and folder, last
        "mvtec": Entry(
            "offnormal.data.layouts.mvtec:MvtecLayout",
            "train/good, test/<defect>, ground_truth/<defect>; one category or a folder of them",
        ),
        "ganomaly": Entry(
            "offnormal.data.layouts.ganomaly:GanomalyLayout",
            "train/0.normal, test/0.normal, test/1.abnormal",
        ),
        "mnist": Entry(
            "offnormal.data.layouts.mnist:MnistLayout",
            "MNIST and Fashion-MNIST as published: one class normal (--normal-class), all others anomalous",
        ),
        "ucsd": Entry(
            "offnormal.data.layouts.ucsd:UcsdLayout",
            "UCSD Ped1 and Ped2 as published: TIFF frames, intervals in a .m file, masks",
        ),
        "avenue": Entry(
            "offnormal.data.layouts.avenue:AvenueLayout",
            "CUHK Avenue as published: .avi videos, masks in MATLAB files",
        ),
        "shanghaitech": Entry(
            "offnormal.data.layouts.shanghaitech:ShanghaiTechLayout",
            "ShanghaiTech Campus as published: .avi and frames, labels and masks in .npy files",
        ),
        "redistributed": Entry(  # after shanghaitech, whose frames lie alike but whose labels do not
            "offnormal.data.layouts.redistributed:RedistributedLayout",
            "training/frames, testing/frames, labels in one .npy or .mat; as published code expects these sets",
        ),
        "memae": Entry(
            "offnormal.data.layouts.memae:MemaeLayout",
            "Train/Video001, Test/Video001, Test_gt/Video001.mat; as MemAE's code expects them",
        ),
        "videos": Entry(
            "offnormal.data.layouts.videos:VideosLayout",
            "your own videos: train, optionally test, labels and masks; or one folder of normal videos",
        ),
        "folder": Entry(
            "offnormal.data.layouts.folder:FolderLayout",
            "a folder of normal images, optionally a test folder",
        ),
    },
}


@cache
def _entries(kind: str) -> dict[str, Entry]:
    found = dict(_BUILT_IN[kind])
    for point in entry_points(group=f"offnormal.{kind}"):
        found.setdefault(point.name, Entry(point.value, f"plug-in of {point.dist.name if point.dist else '?'}"))
    return found


def names(kind: str) -> dict[str, str]:
    """Name -> one-line summary of every registered entry of a kind ("detectors", "layouts")."""
    return {name: entry.summary for name, entry in _entries(kind).items()}


def resolve(kind: str, name: str) -> Any:
    """The class behind a name; ConfigError with the nearest names for an unknown one."""
    known = _entries(kind)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"no {kind[:-1]} is called {name!r}: {advice}known are {', '.join(known)}")
    module, _, attribute = known[name].target.partition(":")
    return getattr(import_module(module), attribute)
