"""TensorBoard: event files in the run's folder, which `tensorboard --logdir runs` finds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import yaml
from PIL import Image

from offnormal.training.tracking.tracker import About, Point

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files below `tensorboard` in the run's folder."""

    package: ClassVar[str] = "tensorboard"

    def __init__(self, about: About, ident: str | None) -> None:
        folder = about.folder / _FOLDER
        self.ident = _FOLDER
        self.place = str(folder)
        self._writer = self._begin(folder, None)

    @staticmethod
    def check() -> None:
        """ImportError when the package is damaged."""
        import torch.utils.tensorboard  # noqa: F401

    @staticmethod
    def _begin(folder: Path, first: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=first, flush_secs=10)

    def configure(self, values: Mapping[str, object]) -> None:
        """As a text, in YAML."""
        text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
        self._writer.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def points(self, points: Sequence[Point]) -> None:
        """As scalars, with the time at which they were logged."""
        for point in points:
            for name, value in point.values.items():
                self._writer.add_scalar(name, value, point.step, walltime=point.time_s)
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """TensorBoard shows no longer what lies after the step in earlier files."""
        self._writer.close()
        self._writer = self._begin(Path(self.place), step + 1)

    def summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Numbers as scalars, anything else as text."""
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, name: str, png: bytes, step: int) -> None:
        """As an image of that step."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """Nothing marks a failed run."""
        self._writer.close()
