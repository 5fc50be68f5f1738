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
    found = {f"network {name}": program.ask(lambda make=make: _described(make)) for name, make in _NETWORKS.items()}
    found["pinned names"] = program.ask(_pinned)
    found["public names"] = program.ask(_public)
    return found


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
    after = float(torch.rand(()))  # how many numbers were drawn
    return {
        "tensors": [f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}" for name, value in tensors.items()],
        "draws": {name: "sha256!" + _hash(value) for name, value in tensors.items()},
        "next draw": after,
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()[:16]


def _detector(name: str, **options: Any) -> Callable[[], Any]:
    """A detector by its registry name, made as this version of the program makes one."""

    def make() -> Any:
        spec, size = internal("offnormal:InputSpec"), options.pop("size", None)
        kind = internal("offnormal.registry:resolve")("detectors", name)
        fields = {"size": size} if size else {}
        create = getattr(kind, "create", None)
        if create is not None:
            return create(**fields, **options)
        chosen = _options(kind, options)
        for build in (lambda: kind(chosen, spec(**fields)), lambda: kind(chosen)):
            try:
                return build()
            except TypeError:
                continue
        raise LookupError(f"moved: the constructor of {name}")

    return make


def _options(kind: Any, options: dict[str, Any]) -> Any:
    for holder in (kind, internal(kind.__module__ + ":" + kind.__qualname__)):
        for attribute in ("Options", "options_type"):
            if hasattr(holder, attribute):
                return getattr(holder, attribute)(**options)
    raise LookupError(f"moved: the options of {kind.__qualname__}")


def _backbone(name: str) -> Callable[[], Any]:
    def make() -> Any:
        return internal("offnormal.backbones.images:load")(name)

    return make


_NETWORKS: dict[str, Callable[[], Any]] = {}


def _pinned() -> dict[str, str]:
    found = {}
    for place in PINNED:
        try:
            internal(place)
            found[place] = "there"
        except LookupError as error:
            found[place] = str(error.args[0])
    return found


def _public() -> dict[str, Any]:
    import inspect

    import offnormal as on

    return {
        name: str(inspect.signature(getattr(on, name))) if inspect.isfunction(getattr(on, name)) else "class"
        for name in sorted(on.__all__)
    }
