"""Networks of clips by name: as encoders with a code, or as embedders."""

from __future__ import annotations

from typing import Protocol

from offnormal import registry
from offnormal.backbones.video.base import Temporal, VideoBackbone
from offnormal.errors import ConfigError


class Network(Protocol):
    """The class of a network."""

    refusal: str | None

    def __call__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> VideoBackbone:
        """A network by its name; temporal: of those that can be encoders alone."""
        ...


def build_embedder(name: str, *, in_channels: int = 3) -> VideoBackbone:
    """A network with random weights, as its weights were trained; in_channels: 3 for color, 1 for gray.

    Raises ConfigError for an unknown name, or a network that needs a package that is not installed.
    """
    return _class_of(name)(name, in_channels=in_channels)


def build_encoder(name: str, *, in_channels: int = 3, temporal: Temporal = "mixed") -> VideoBackbone:
    """A network with random weights whose last stage is the code of a clip; temporal: how it shortens time.

    Raises ConfigError for an unknown name, and for a network that cannot be an encoder, with the reason.
    """
    network = _class_of(name)
    if network.refusal is not None:
        raise ConfigError(f"{name} cannot be an encoder: {network.refusal}; encoders are {', '.join(encoder_names())}")
    return network(name, in_channels=in_channels, temporal=temporal)


def encoder_names() -> list[str]:
    """The networks that `build_encoder` takes."""
    return [name for name, network in registry.resolve_all("backbones").items() if network.refusal is None]


def is_encoder(name: str) -> bool:
    """Whether `build_encoder` takes a network; ConfigError for an unknown name."""
    return _class_of(name).refusal is None


def _class_of(name: str) -> Network:
    return registry.resolve("backbones", name.partition(":")[0])
