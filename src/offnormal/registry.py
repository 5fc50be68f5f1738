"""Registry of detectors, backbones, layouts, and sinks: name -> class, imported on first use; plug-ins by entry points.

A package registers classes through the entry-point groups `offnormal.detectors`, `offnormal.backbones`,
`offnormal.layouts`, and `offnormal.sinks` (docs/extending.md). Listing names imports nothing. A broken plug-in is a
warning if all entries are resolved, and an error if it is resolved by name.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from offnormal.errors import ConfigError, OffnormalError, PluginError

if TYPE_CHECKING:  # names are resolved without importing the other classes
    from offnormal.backbones.video.base import Network
    from offnormal.data.dataset import Layout
    from offnormal.detectors.base import Detector
    from offnormal.sinks.base import Sink

log = logging.getLogger(__name__)

Kind = Literal["detectors", "backbones", "layouts", "sinks"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The definition and summary of a class, without importing it."""

    target: str  # "package.module:Class"
    summary: str
    distribution: str = ""  # name and version of the registering package; "": built in


# kind -> base class ("package.module:Class"; "": any), and attributes that a plug-in must have
_CONTRACTS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "detectors": ("offnormal.detectors.base:Detector", ("name", "Options", "pools_map")),
    "backbones": ("offnormal.backbones.video.base:VideoBackbone", ()),
    "layouts": ("", ("tree", "source", "license", "recognizes", "categories", "read")),
    "sinks": ("offnormal.sinks.base:Sink", ("Options", "target_option")),
}


def _built_in(package: str, **entries: tuple[str, str]) -> dict[str, Entry]:
    """Return the entries of a package: name=("module:Class", summary)."""
    return {name: Entry(f"offnormal.{package}{target}", summary) for name, (target, summary) in entries.items()}


_BUILT_IN: dict[Kind, dict[str, Entry]] = {
    "detectors": _built_in(
        "detectors.",
        padim=(
            "padim:Padim",
            "Gaussian of pretrained features per position; for parts in a fixed position or fixed cameras (--motion).",
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
            "Autoencoder that reconstructs from a memory of normal patterns; for videos of cameras, or images.",
        ),
        embedding_ae=(
            "embedding_ae:EmbeddingAE",
            "Autoencoder on clip embeddings of a pretrained network; for actions, and fixed cameras.",
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
    "backbones": _built_in(  # of clips; image backbones are timm's (offnormal.backbones.images)
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
        resnet3d_r18=("resnet3d:ResNet3d", "3D ResNet R18; no published weights"),
        resnet3d_r34=("resnet3d:ResNet3d", "3D ResNet R34; no published weights"),
        r3d_18=("torchvision_video:TorchvisionResNet", "torchvision's 3D ResNet, Kinetics-400 63.2 %"),
        mc3_18=(
            "torchvision_video:TorchvisionResNet",
            "torchvision's mixed-convolution ResNet, Kinetics-400 64.0 %",
        ),
        r2plus1d_18=("torchvision_video:TorchvisionResNet", "torchvision's R(2+1)D, Kinetics-400 67.5 %"),
        s3d=("torchvision_video:S3D", "torchvision's S3D, Kinetics-400 68.4 %"),
        swin3d_t=("torchvision_video:Swin3D", "torchvision's Video Swin, tiny, Kinetics-400 77.7 %"),
        slowfast_r50=("slowfast:SlowFast", "SlowFast R50 8x8, Kinetics-400 76.9 %; embeddings; Apache-2.0"),
        timesformer_b=(
            "transformer:TransformerBackbone",
            "TimeSformer, 8x224x224, Kinetics-400 77.9 %; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        timesformer_hr=(
            "transformer:TransformerBackbone",
            "TimeSformer HR, 16x448x448; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        timesformer_l=(
            "transformer:TransformerBackbone",
            "TimeSformer L, 96x224x224; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        videomae_b=(
            "transformer:TransformerBackbone",
            "VideoMAE, 16x224x224; embeddings; CC-BY-NC-4.0: non-commercial",
        ),
        vivit_b=("transformer:TransformerBackbone", "ViViT, 32x224x224; embeddings; MIT"),
        vjepa2_l=("transformer:TransformerBackbone", "V-JEPA 2 ViT-L, 16x256x256; embeddings; MIT"),
        frames=(
            "frames:Frames",
            "frames:<timm network>, applied to each frame; frames:efficientnet_lite0 works offline",
        ),
    ),
    "layouts": _built_in(  # tried on a folder in this order; the general ones, videos and folder, come last
        "data.layouts.",
        mvtec=(
            "mvtec:MvtecLayout",
            "train/good, test/<defect>, ground_truth/<defect>; one category or a folder of them",
        ),
        ganomaly=("ganomaly:GanomalyLayout", "train/0.normal, test/0.normal, test/1.abnormal"),
        street_scene=(  # before ucsd, which has the same folders of frames but other label files
            "street_scene:StreetSceneLayout",
            "Street Scene as published: frames, and boxes of the anomalous objects",
        ),
        ucsd=("ucsd:UcsdLayout", "UCSD Ped1 and Ped2 as published: TIFF frames, intervals in a .m file, masks"),
        avenue=("avenue:AvenueLayout", "CUHK Avenue as published: .avi videos, masks in MATLAB files"),
        shanghaitech=(
            "shanghaitech:ShanghaiTechLayout",
            "ShanghaiTech Campus as published: .avi and frames, labels and masks in .npy files",
        ),
        ucf_crime=(
            "ucf_crime:UcfCrimeLayout",
            "UCF-Crime as published: class folders of videos, frame spans of the test videos in one text file",
        ),
        ubnormal=("ubnormal:UbnormalLayout", "UBnormal as published: videos by scene, tracks of the anomalous objects"),
        nwpu_campus=("nwpu_campus:NwpuCampusLayout", "NWPU Campus as published: .avi videos, labels in one .npz file"),
        iitb_corridor=(
            "iitb_corridor:IitbCorridorLayout",
            "IITB Corridor as published: a folder for each video, labels in .npy files",
        ),
        # after shanghaitech, which has the same frame folders but other label files
        redistributed=(
            "redistributed:RedistributedLayout",
            "training/frames, testing/frames, labels in one .npy or .mat file, as published code expects them",
        ),
        memae=(
            "memae:MemaeLayout",
            "Train/Video001, Test/Video001, Test_gt/Video001.mat; as MemAE's code expects them",
        ),
        mnist=(
            "mnist:MnistLayout",
            "MNIST and Fashion-MNIST as published: the classes of --normal-class are normal, all others anomalous",
        ),
        mvtec_ad_2=(
            "mvtec_ad_2:MvtecAd2Layout",
            "MVTec AD 2 as published: validation, and test_public with masks inside",
        ),
        mvtec_loco=("mvtec_loco:MvtecLocoLayout", "MVTec LOCO AD as published: logical and structural anomalies"),
        visa=("visa:VisaLayout", "VisA as published: Data/Images/{Normal,Anomaly}, split_csv/1cls.csv"),
        btad=("btad:BtadLayout", "BTAD as published: train/ok, test/{ok,ko}, ground_truth/ko"),
        mpdd=("mpdd:MpddLayout", "MPDD as published: the tree of mvtec with six categories of metal parts"),
        real_iad=(
            "real_iad:RealIadLayout",
            "Real-IAD as published: a JSON file per category",
        ),
        kolektor_sdd=("kolektor_sdd:KolektorSddLayout", "KolektorSDD as published: kos01/Part0.jpg, Part0_label.bmp"),
        kolektor_sdd2=("kolektor_sdd2:KolektorSdd2Layout", "KolektorSDD2 as published: 10000.png and 10000_GT.png"),
        manifest=(
            "manifest:ManifestLayout",
            "a CSV or parquet table: address,label,mask,group,split",
        ),
        ok_ng=("ok_ng:OkNgLayout", "folders OK and NG, and optionally MASK"),
        ucf_sports=(
            "ucf_sports:UcfSportsLayout",
            "UCF Sports Action as published: class folders of clips, 7 classes normal, 3 anomalous",
        ),
        class_folders=(
            "class_folders:ClassFoldersLayout",
            "class folders of clips; --normal-class or --anomalous-class chooses the normal ones",
        ),
        videos=(
            "videos:VideosLayout",
            "your videos: train, and optionally test, labels, and masks; or one folder of normal videos",
        ),
        folder=("folder:FolderLayout", "a folder of normal images, and optionally a test folder"),
    ),
    "sinks": _built_in(
        "sinks.",
        jsonl=("appended_file:JsonlSink", "a file with one JSON object per event"),
        csv=("appended_file:CsvSink", "a table with one row per event"),
        files=("files:EventFilesSink", "a folder with JSON, snapshot, heat map, and clip of each event"),
        webhook=("webhook:WebhookSink", "JSON posted to a URL, signed with a secret"),
        apprise=(
            "alert:AlertSink",
            "email, MQTT, chat, and more through an Apprise URL, with the image (extra [alerts])",
        ),
    ),
}


def names(kind: Kind) -> dict[str, str]:
    """Return name -> one-line summary of all entries of a kind."""
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
    """Import and return the class of a name.

    Raises ConfigError with the closest name for an unknown one, and PluginError for a broken plug-in.
    """
    entries = _entries(kind)
    if name not in entries:
        near = difflib.get_close_matches(name.lower(), entries, n=1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown {kind[:-1]} {name!r}: {advice}expected one of {', '.join(entries)}")
    entry = entries[name]
    return _load_plugin(kind, name, entry) if entry.distribution else EntryPoint("", entry.target, "").load()


@overload
def resolve_all(kind: Literal["backbones"]) -> dict[str, Network]: ...
@overload
def resolve_all(kind: Literal["layouts"]) -> dict[str, Layout]: ...
@overload
def resolve_all(kind: Literal["sinks"]) -> dict[str, type[Sink]]: ...
@overload
def resolve_all(kind: Kind) -> dict[str, object]: ...
def resolve_all(kind: Kind) -> object:
    """Return name -> class of all entries of a kind; a broken plug-in is skipped with one warning per process."""
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
            owner = first.distribution or "offnormal"
            _warn_once(
                f"{owner} and {distribution} both register the {kind[:-1]} {point.name!r}; that of {owner} is used"
            )
    return entries


def _packages(group: str) -> dict[str, EntryPoints]:
    """Return name and version -> entry points of a group; a package that is found twice counts once."""
    packages: dict[str, EntryPoints] = {}
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=group)
        except (TypeError, ValueError) as error:  # `entry_points()` would fail for every group
            _warn_once(f"the entry_points.txt of {_display_name(distribution)} cannot be read ({error}); it is skipped")
            continue
        if points:
            packages.setdefault(_display_name(distribution), points)
    return packages


def _display_name(distribution: Distribution) -> str:
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = [re.search(rf"^{name}: *(.+)$", metadata, re.MULTILINE) for name in ("Name", "Version")]
    return " ".join(match[1].strip() for match in fields if match) or "an unnamed package"


def _load_plugin(kind: Kind, name: str, entry: Entry) -> object:
    """Import the class of a plug-in; PluginError if the import fails or the class breaks its contract."""
    try:
        plugin = EntryPoint("", entry.target, "").load()
    except Exception as error:  # noqa: BLE001 - importing another package may raise anything
        fault = f"{type(error).__name__}: {error}"
    else:
        fault = _find_fault(kind, name, plugin)
    if fault:
        raise PluginError(_explain_fault(kind, name, entry, f"its entry point {name} = {entry.target} gives {fault}"))
    return plugin


def _explain_fault(kind: Kind, name: str, entry: Entry, fault: str) -> str:
    return (
        f"the {kind[:-1]} {name!r} of {entry.distribution} is broken: {fault}; "
        f"update or uninstall {entry.distribution.partition(' ')[0]}"
    )


@contextlib.contextmanager
def plugin_errors(kind: Kind, name: str, call: str) -> Iterator[None]:
    """Turn an exception of a plug-in's code into a PluginError that names its package; those of built-in code stay.

    call: what is called, such as "its constructor".
    """
    try:
        yield
    except OffnormalError:
        raise
    except Exception as error:
        entry = _entries(kind)[name]
        if not entry.distribution:
            raise
        fault = f"{call} raises {type(error).__name__}: {error}"
        raise PluginError(_explain_fault(kind, name, entry, fault)) from error


def recognizes(name: str, layout: Layout, root: Path) -> bool:
    """Whether a layout recognizes a folder; no for a plug-in that fails, with one warning per process."""
    try:
        with plugin_errors("layouts", name, "`recognizes`"):
            return layout.recognizes(root)
    except PluginError as error:
        _warn_once(f"{error}; it is skipped")
        return False


def _find_fault(kind: Kind, name: str, plugin: object) -> str:
    """Describe what is wrong with the object of an entry point; "" if nothing is."""
    base, attributes = _CONTRACTS[kind]
    if not isinstance(plugin, type):
        return f"{plugin!r:.80}, expected a class"
    if base and not issubclass(plugin, EntryPoint("", base, "").load()):
        return f"the class {plugin.__name__}, expected a subclass of {base.replace(':', '.')}"
    missing = [each for each in attributes if not hasattr(plugin, each)]
    if inspect.isabstract(plugin):
        missing += sorted(getattr(plugin, "__abstractmethods__", ()))
    if missing:
        return f"the class {plugin.__name__} without {', '.join(missing)}"
    return _find_detector_fault(name, plugin) if kind == "detectors" else ""


def _find_detector_fault(name: str, plugin: type[Detector]) -> str:
    """Describe what would fail later, in `fit` or when a bundle is loaded."""
    if plugin.name != name:
        return f"the class {plugin.__name__} with the name {plugin.name!r}, expected {name!r}"
    required = [option for option, field in plugin.Options.model_fields.items() if field.is_required()]
    if required:
        return f"the class {plugin.__name__} with options that have no default: {', '.join(required)}"
    return ""


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)
