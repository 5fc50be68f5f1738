"""The camera: lens, sensor noise and tone curve turn linear light into an 8-bit photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offnormal.demo.noise import Field

_LEVELS = 16384  # of linear light: a step in the shadows stays below one of the 8-bit picture


@dataclass(frozen=True)
class Camera:
    """Settings of one photograph.

    `exposure` is a factor; `vignette` the share of light lost in the corners; `softness` the share of a pixel's
    light that the lens spills to each neighbour; `noise` a factor on the sensor's noise.
    """

    exposure: float
    vignette: float
    softness: float
    noise: float


def draw_camera(rng: np.random.Generator) -> Camera:
    """The settings of one photograph, which drift a little from shot to shot."""
    return Camera(
        exposure=float(np.exp(rng.normal(0, 0.045))),
        vignette=rng.uniform(0.14, 0.24),
        softness=rng.uniform(0.06, 0.15),
        noise=rng.uniform(0.9, 1.5),
    )


def photograph(light: Field, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The picture, (H, W, 3) uint8, that the camera makes of linear light, (3, H, W), nominal white 1.

    The exposure does not depend on what is seen, and nothing spreads by more than one pixel.
    """
    _, height, width = light.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lens = np.float32(camera.exposure) * (1 - np.float32(camera.vignette / 2) * (x * x + y * y))
    light = _soften(light, camera.softness)
    light *= lens
    # Colour noise comes in blocks of 2 x 2, as JPEG stores colour; shot noise grows with the root of the light.
    blocks = rng.standard_normal((3, (height + 1) // 2, (width + 1) // 2), dtype=np.float32)
    noise = (np.float32(0.3) * blocks).repeat(2, axis=1)[:, :height].repeat(2, axis=2)[:, :, :width]
    noise += rng.standard_normal((height, width), dtype=np.float32)
    noise *= np.sqrt(np.float32(2.2e-6) + np.float32(6.0e-5) * light[1]) * np.float32(camera.noise)
    light += noise
    light *= np.float32(_LEVELS / 2)
    np.clip(light, 0, _LEVELS - 1, out=light)
    curve = _tone_curve()
    return np.stack([curve.take(channel.astype(np.intp)) for channel in light], axis=-1)


def _tone_curve() -> npt.NDArray[np.uint8]:
    """The 8-bit value of every linear level, (_LEVELS,), whose middle is nominal white.

    A gamma of 2.2 with a shoulder, so that highlights keep their shape up to twice nominal white.
    """
    linear = np.arange(_LEVELS, dtype=np.float32) * np.float32(2 / _LEVELS)
    rolled = 1.10 * linear / np.sqrt(1 + 0.18 * linear**2)
    return np.asarray(255 * np.minimum(rolled, 1) ** (1 / 2.2) + 0.5).clip(0, 255).astype(np.uint8)


def _soften(picture: Field, side: float) -> Field:
    """Blur (C, H, W) with the kernel (side, 1 - 2 side, side) in both directions; borders repeat."""
    edge = np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="edge")
    mid, out = np.float32(1 - 2 * side), np.float32(side)
    rows = edge[:, 1:-1] * mid + (edge[:, :-2] + edge[:, 2:]) * out
    return np.asarray(rows[..., 1:-1] * mid + (rows[..., :-2] + rows[..., 2:]) * out)
