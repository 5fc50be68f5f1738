"""Clip networks by name: encoders with a code, and embedders."""

from __future__ import annotations

from offnormal import registry
from offnormal.backbones.video.base import Network, Temporal, VideoBackbone
from offnormal.errors import ConfigError


def build_embedder(name: str, *, in_channels: int = 3) -> VideoBackbone:
    """Create an embedder with random weights; in_channels: 3 for color, 1 for gray.

    Raises ConfigError for an unknown name and for a missing package.
    """
    network = _resolve_class(name)
    with registry.plugin_errors("backbones", name.partition(":")[0], "its constructor"):
        return network(name, in_channels=in_channels)


def build_encoder(name: str, *, in_channels: int = 3, temporal: Temporal = "mixed") -> VideoBackbone:
    """Create an encoder with random weights; its last stage is the code. temporal: how it downsamples time.

    Raises ConfigError for an unknown name and for a network that cannot be an encoder, with the reason.
    """
    network = _resolve_class(name)
    if network.refusal is not None:
        raise ConfigError(
            f"{name} cannot be an encoder: {network.refusal}; expected one of {', '.join(encoder_names())}"
        )
    with registry.plugin_errors("backbones", name.partition(":")[0], "its constructor"):
        return network(name, in_channels=in_channels, temporal=temporal)


def encoder_names() -> list[str]:
    """Names of the encoders."""
    return [name for name, network in registry.resolve_all("backbones").items() if network.refusal is None]


def is_encoder(name: str) -> bool:
    """Whether a network can be an encoder; ConfigError for an unknown name."""
    return _resolve_class(name).refusal is None


def _resolve_class(name: str) -> Network:
    return registry.resolve("backbones", name.partition(":")[0])
