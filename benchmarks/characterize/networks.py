"""Section 8: names and order of the tensors of every network, their random draws, and the pinned names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from program import Program, internal

PINNED = (
    "offnormal.detectors.padim:Padim", "offnormal.detectors.padim:concat_features", "offnormal.detectors.padim:smooth",
    "offnormal.detectors.parts.gaussian:PositionGaussian",
    *(f"offnormal.detectors.parts.memory:{name}" for name in (
        "address", "entropy", "read_items", "update_items", "compactness", "separateness")),
    "offnormal.detectors.ganomaly:Ganomaly.create", "offnormal.detectors.mnad:MNAD.create",
    "offnormal.detectors.memae:MemAE.create",
    "offnormal.metrics.image:auroc", "offnormal.metrics.image:best_f1", "offnormal.metrics.pixel:auroc",
    "offnormal.metrics.pixel:aupro", "offnormal.metrics.video:min_max", "offnormal.metrics.video:frame_auc",
)  # fmt: skip


def record(program: Program) -> dict[str, Any]:
    """An entry for each network, for the pinned names, and for the public ones."""
    results = {f"network {name}": program.ask(lambda make=make: _described(make)) for name, make in _NETWORKS.items()}
    results["pinned names"] = program.ask(_pinned)
    results["public names"] = program.ask(_public)
    return results


def _described(make: Callable[[], Any]) -> Any:
    """A network's tensors in order, made right after a seed; the hash is of its random draws."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        network = make()
    except LookupError as error:
        return str(error.args[0])
    tensors = network.state_dict()
    after = float(torch.rand(()))  # tells how many numbers were drawn
    return {
        "tensors": [
            f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}" for name, value in tensors.items()
        ],
        "draws": {name: "sha256!" + _hash(value) for name, value in tensors.items() if value.device.type == "cpu"},
        "next draw": after,
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()[:16]


def _by_options(name: str, size: tuple[int, int], fields: dict[str, Any], **options: Any) -> Callable[[], Any]:
    """A detector of options and an input specification."""

    def make() -> Any:
        kind = internal("offnormal.registry:resolve")("detectors", name)
        return kind(kind.Options(**options), internal("offnormal:InputSpec")(size=size, **fields))

    return make


def _for_people(name: str, *first: Any, **options: Any) -> Callable[[], Any]:
    """A detector as a person makes it: `create`, or the class itself where that is missing."""

    def make() -> Any:
        kind = internal("offnormal.registry:resolve")("detectors", name)
        return getattr(kind, "create", kind)(*first, **options)

    return make


def _by_call(address: str, *arguments: Any, meta: bool = False) -> Callable[[], Any]:
    """What a function makes; meta: names and shapes alone, no numbers."""

    def make() -> Any:
        import torch

        with torch.device("meta" if meta else "cpu"):
            return internal(address)(*arguments)

    return make


_EMBEDDER, _ENCODER = (
    "offnormal.backbones.video.catalogue:build_embedder",
    "offnormal.backbones.video.catalogue:build_encoder",
)
_NETWORKS: dict[str, Callable[[], Any]] = {
    "padim": _by_options("padim", (64, 64), {}),
    "pixel_gaussian": _by_options("pixel_gaussian", (32, 32), {"channels": 1}),
    "frame_difference": _by_options("frame_difference", (32, 32), {"channels": 1, "frames": 2, "fps": 2.5}),
    "ganomaly": _for_people("ganomaly", 32),
    "ganomaly small": _for_people("ganomaly", 64, channels=1, latent=10, width=8, extra_layers=2),
    "mnad pred": _for_people("mnad", "pred"),
    "mnad recon": _for_people("mnad", "recon", width=16),
    "memae video": _for_people("memae", "video", width=32),
    **{f"memae {form}": _for_people("memae", form) for form in ("mnist", "cifar")},
    "memae encoder": _for_people("memae", "video", encoder="slowonly_r18", frames=8),
    **{
        f"embedding_ae {head}": _by_options("embedding_ae", (32, 32), {"frames": 4, "targets": ()}, head=head, frames=4)
        for head in ("ae", "knn")
    },
    "image backbone": _by_call("offnormal.backbones.images:TimmBackbone", "efficientnet_lite0"),
    "embedder r3d_18": _by_call(_EMBEDDER, "r3d_18"),
    "encoder slowonly_r18": _by_call(_ENCODER, "slowonly_r18"),
    **{
        f"embedder {name}": _by_call(_EMBEDDER, name, meta=True)
        for name in (
            "r2plus1d_18",
            "slowonly_r50",
            "slowfast_r50",
            "csn_r101",
            "timesformer_b",
            "videomae_b",
            "vivit_b",
            "s3d",
            "swin3d_t",
            "mc3_18",
        )
    },
    "encoder csn_r50": _by_call(_ENCODER, "csn_r50", meta=True),
}


def _pinned() -> dict[str, str]:
    results = {}
    for address in PINNED:
        try:
            internal(address)
            results[address] = "there"
        except LookupError as error:
            results[address] = str(error.args[0])
    return results


def _public() -> dict[str, Any]:
    import inspect

    import offnormal as on

    return {
        name: str(inspect.signature(getattr(on, name))) if inspect.isfunction(getattr(on, name)) else "class"
        for name in sorted(on.__all__)
    }
