"""Names of detectors, backbones, layouts and sinks -> classes, imported when asked for; plug-ins by entry points.

A package adds its own through the entry-point groups `offnormal.detectors`, `offnormal.backbones`, `offnormal.layouts`
and `offnormal.sinks` (docs/extending.md). Names are listed without importing any of them. A plug-in that is broken is a
warning where all are asked for, and an error where it is asked for by name.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions
from typing import TYPE_CHECKING, Literal, overload

from offnormal.errors import ConfigError, PluginError

if TYPE_CHECKING:  # a name is resolved without importing what others stand for
    from offnormal.backbones.video.catalogue import Network
    from offnormal.data.dataset import Layout
    from offnormal.detectors.base import Detector
    from offnormal.sinks.base import Sink

log = logging.getLogger(__name__)

Kind = Literal["detectors", "backbones", "layouts", "sinks"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a class is defined and what it is, without importing it."""

    target: str  # "package.module:Class"
    summary: str
    distribution: str = ""  # name and version of the package that registers it; "": built in


# kind -> the base of its classes ("package.module:Class"; "": any), and attributes that a plug-in must have
_CONTRACTS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "detectors": ("offnormal.detectors.base:Detector", ("name", "Options", "pools_map")),
    "backbones": ("offnormal.backbones.video.base:VideoBackbone", ()),
    "layouts": ("", ("tree", "source", "license", "recognizes", "categories", "read")),
    "sinks": ("offnormal.sinks.base:Sink", ("Options", "target_option")),
}


def _built_in(room: str, **entries: tuple[str, str]) -> dict[str, Entry]:
    """Entries of the classes below a room: name=("module:Class", summary)."""
    return {name: Entry(f"offnormal.{room}{target}", summary) for name, (target, summary) in entries.items()}


_BUILT_IN: dict[Kind, dict[str, Entry]] = {
    "detectors": _built_in(
        "detectors.",
        padim=(
            "padim:Padim",
            "Gaussian of pretrained features at each position; for aligned parts, and fixed cameras (--motion).",
        ),
        ganomaly=(
            "ganomaly:Ganomaly",
            "Adversarially trained encoder-decoder for small images; a baseline.",
        ),
        mnad=(
            "mnad:MNAD",
            "Memory-guided prediction or reconstruction of frames; for fixed cameras.",
        ),
        memae=(
            "memae:MemAE",
            "Autoencoder that reconstructs from a memory of normal patterns; for clips of cameras, or images.",
        ),
        embedding_ae=(
            "embedding_ae:EmbeddingAE",
            "Autoencoder on clip embeddings of a pretrained network; for actions, and cameras.",
        ),
        pixel_gaussian=(
            "baselines:PixelGaussian",
            "Mean and variance of each pixel of small gray frames; a baseline for fixed cameras.",
        ),
        frame_difference=(
            "baselines:FrameDifference",
            "Change of each pixel over a short time; a baseline for videos from fixed cameras.",
        ),
    ),
    "backbones": _built_in(  # of clips; those of pictures are timm's (offnormal.backbones.images)
        "backbones.video.",
        slowonly_r18=("resnet3d:ResNet3d", "SlowOnly R18; no published weights"),
        slowonly_r34=("resnet3d:ResNet3d", "SlowOnly R34; no published weights"),
        slowonly_r50=("resnet3d:ResNet3d", "SlowOnly R50, Kinetics-400 74.6 %; Apache-2.0"),
        csn_r50=(
            "resnet3d:ResNet3d",
            "channel-separated R50 (ir-CSN), Kinetics-400 79.2 %, from IG-65M: non-commercial",
        ),
        csn_r101=("resnet3d:ResNet3d", "channel-separated R101, Kinetics-400 77.0 %; Apache-2.0"),
        csn_r152=("resnet3d:ResNet3d", "channel-separated R152, Kinetics-400 76.3 %; Apache-2.0"),
        resnet3d_r18=("resnet3d:ResNet3d", "3-D ResNet R18; no published weights"),
        resnet3d_r34=("resnet3d:ResNet3d", "3-D ResNet R34; no published weights"),
        r3d_18=("torchvision_video:TorchvisionResNet", "torchvision's 3-D ResNet, Kinetics-400 63.2 %"),
        mc3_18=(
            "torchvision_video:TorchvisionResNet",
            "torchvision's ResNet of mixed convolutions, Kinetics-400 64.0 %",
        ),
        r2plus1d_18=("torchvision_video:TorchvisionResNet", "torchvision's R(2+1)D, Kinetics-400 67.5 %"),
        s3d=("torchvision_video:S3D", "torchvision's S3D, Kinetics-400 68.4 %"),
        swin3d_t=("torchvision_video:Swin3D", "torchvision's Video Swin, tiny, Kinetics-400 77.7 %"),
        slowfast_r50=("slowfast:SlowFast", "SlowFast R50 8 x 8, Kinetics-400 76.9 %; embeddings; Apache-2.0"),
        timesformer_b=(
            "transformer:TransformerBackbone",
            "TimeSformer, 8 x 224, 77.9 %; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        timesformer_hr=(
            "transformer:TransformerBackbone",
            "TimeSformer HR, 16 x 448; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        timesformer_l=(
            "transformer:TransformerBackbone",
            "TimeSformer L, 96 x 224; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        videomae_b=("transformer:TransformerBackbone", "VideoMAE, 16 x 224; embeddings; CC-BY-NC-4.0: non-commercial"),
        vivit_b=("transformer:TransformerBackbone", "ViViT, 32 x 224; embeddings; MIT"),
        vjepa2_l=("transformer:TransformerBackbone", "V-JEPA 2 ViT-L, 16 x 256; embeddings; MIT"),
        frames=(
            "frames:Frames",
            "frames:<timm network>, of each frame and over the clip; frames:efficientnet_lite0 works offline",
        ),
    ),
    "layouts": _built_in(  # tried in this order on a folder, the general ones, videos and folder, last
        "data.layouts.",
        mvtec=(
            "mvtec:MvtecLayout",
            "train/good, test/<defect>, ground_truth/<defect>; one category or a folder of them",
        ),
        ganomaly=("ganomaly:GanomalyLayout", "train/0.normal, test/0.normal, test/1.abnormal"),
        ucsd=("ucsd:UcsdLayout", "UCSD Ped1 and Ped2 as published: TIFF frames, intervals in a .m file, masks"),
        avenue=("avenue:AvenueLayout", "CUHK Avenue as published: .avi videos, masks in MATLAB files"),
        shanghaitech=(
            "shanghaitech:ShanghaiTechLayout",
            "ShanghaiTech Campus as published: .avi and frames, labels and masks in .npy files",
        ),
        # after shanghaitech, whose frames lie alike but whose labels do not
        redistributed=(
            "redistributed:RedistributedLayout",
            "training/frames, testing/frames, labels in one .npy or .mat; as published code expects these sets",
        ),
        memae=(
            "memae:MemaeLayout",
            "Train/Video001, Test/Video001, Test_gt/Video001.mat; as MemAE's code expects them",
        ),
        mnist=(
            "mnist:MnistLayout",
            "MNIST and Fashion-MNIST as published: one class normal (--normal-class), all others anomalous",
        ),
        ucf_sports=(
            "ucf_sports:UcfSportsLayout",
            "UCF Sports Action as published: class folders of clips, 7 classes normal, 3 anomalous",
        ),
        class_folders=(
            "class_folders:ClassFoldersLayout",
            "class folders of clips, some classes normal (--normal-class or --anomalous-class)",
        ),
        videos=(
            "videos:VideosLayout",
            "your own videos: train, optionally test, labels and masks; or one folder of normal videos",
        ),
        folder=("folder:FolderLayout", "a folder of normal images, optionally a test folder"),
    ),
    "sinks": _built_in(
        "sinks.",
        jsonl=("appended_file:JsonlSink", "a file with one JSON object a line"),
        csv=("appended_file:CsvSink", "a table with one row an event"),
        files=("files:EventFilesSink", "a folder: JSON, snapshot, heat map and clip of each event"),
        webhook=("webhook:WebhookSink", "JSON posted to an address, signed with a secret"),
        apprise=(
            "alert:AlertSink",
            "mail, MQTT, chat and more by an Apprise address, with the picture (extra [alerts])",
        ),
    ),
}


def names(kind: Kind) -> dict[str, str]:
    """Name -> one-line summary of every registered entry of a kind."""
    return {name: entry.summary for name, entry in _entries(kind).items()}


@overload
def resolve(kind: Literal["detectors"], name: str) -> type[Detector]: ...
@overload
def resolve(kind: Literal["backbones"], name: str) -> Network: ...
@overload
def resolve(kind: Literal["layouts"], name: str) -> Layout: ...
@overload
def resolve(kind: Literal["sinks"], name: str) -> type[Sink]: ...
@overload
def resolve(kind: Kind, name: str) -> object: ...
def resolve(kind: Kind, name: str) -> object:
    """The class behind a name.

    Raises ConfigError with the nearest name for an unknown one, and PluginError for that of a broken plug-in.
    """
    known = _entries(kind)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"no {kind[:-1]} is called {name!r}: {advice}known are {', '.join(known)}")
    entry = known[name]
    return _plug_in(kind, name, entry) if entry.distribution else EntryPoint("", entry.target, "").load()


@overload
def resolve_all(kind: Literal["backbones"]) -> dict[str, Network]: ...
@overload
def resolve_all(kind: Literal["layouts"]) -> dict[str, Layout]: ...
@overload
def resolve_all(kind: Literal["sinks"]) -> dict[str, type[Sink]]: ...
@overload
def resolve_all(kind: Kind) -> dict[str, object]: ...
def resolve_all(kind: Kind) -> object:
    """Name -> class of every entry of a kind; a broken plug-in is skipped with a warning, once per process."""
    classes = {}
    for name in _entries(kind):
        try:
            classes[name] = resolve(kind, name)
        except PluginError as error:
            _warn_once(f"{error}; it is skipped")
    return classes


@cache
def _entries(kind: Kind) -> dict[str, Entry]:
    entries = dict(_BUILT_IN[kind])
    packages = _packages(f"offnormal.{kind}")
    in_order = sorted(packages, key=lambda distribution: re.sub(r"[-_.]+", "-", distribution).casefold())
    for distribution, point in ((each, point) for each in in_order for point in packages[each]):
        first = entries.setdefault(point.name, Entry(point.value, f"plug-in of {distribution}", distribution))
        if first.distribution != distribution:
            owner = first.distribution or "offnormal itself"
            _warn_once(
                f"{owner} and {distribution} both register the {kind[:-1]} {point.name!r}: the one of {owner} is used"
            )
    return entries


def _packages(group: str) -> dict[str, EntryPoints]:
    """Name and version of each package with entry points in a group; of one that is found twice the first counts."""
    packages: dict[str, EntryPoints] = {}
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=group)
        except (TypeError, ValueError) as error:  # which `entry_points()` would raise whatever the group
            _warn_once(f"the entry_points.txt of {_name_of(distribution)} cannot be read ({error}); it is skipped")
            continue
        if points:
            packages.setdefault(_name_of(distribution), points)
    return packages


def _name_of(distribution: Distribution) -> str:
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = [re.search(rf"^{name}: *(.+)$", metadata, re.MULTILINE) for name in ("Name", "Version")]
    return " ".join(match[1].strip() for match in fields if match) or "an unnamed package"


def _plug_in(kind: Kind, name: str, entry: Entry) -> object:
    """The class of a plug-in; PluginError for one that cannot be imported or does not keep to its contract."""
    try:
        found = EntryPoint("", entry.target, "").load()
    except Exception as error:  # noqa: BLE001 - the edge: what another package runs when imported may raise anything
        fault = f"{type(error).__name__}: {error}"
    else:
        fault = _fault(kind, name, found)
    if fault:
        raise PluginError(
            f"the {kind[:-1]} {name!r} of {entry.distribution} is broken: its entry point {name} = {entry.target} "
            f"gives {fault}; update or uninstall {entry.distribution.partition(' ')[0]}"
        )
    return found


def _fault(kind: Kind, name: str, found: object) -> str:
    """What is wrong with what an entry point of a kind refers to; "" where nothing is."""
    base, attributes = _CONTRACTS[kind]
    if not isinstance(found, type):
        return f"{found!r:.80}, expected a class"
    if base and not issubclass(found, EntryPoint("", base, "").load()):
        return f"the class {found.__name__}, expected a subclass of {base.replace(':', '.')}"
    missing = [each for each in attributes if not hasattr(found, each)]
    if inspect.isabstract(found):
        missing += sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        return f"the class {found.__name__} without {', '.join(missing)}"
    return _detector_fault(name, found) if kind == "detectors" else ""


def _detector_fault(name: str, found: type[Detector]) -> str:
    """What would fail only in `fit`, or when a bundle is loaded."""
    if found.name != name:
        return f"the class {found.__name__} with the name {found.name!r}, expected {name!r}"
    required = [option for option, field in found.Options.model_fields.items() if field.is_required()]
    if required:
        return f"the class {found.__name__} with options that have no default: {', '.join(required)}"
    return ""


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)
