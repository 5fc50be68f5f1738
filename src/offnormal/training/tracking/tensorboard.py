"""TensorBoard: event files in the run folder, found by `tensorboard --logdir runs`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import yaml
from PIL import Image

from offnormal.training.tracking.tracker import Point, RunInfo

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files to `tensorboard` in the run folder."""

    package: ClassVar[str] = "tensorboard"

    def __init__(self, info: RunInfo, ident: str | None) -> None:
        folder = info.folder / _FOLDER
        self.ident = _FOLDER
        self.location = str(folder)
        self._writer = self._open(folder, None)

    @staticmethod
    def check() -> None:
        """Raise ImportError if the package is damaged."""
        import torch.utils.tensorboard  # noqa: F401

    @staticmethod
    def _open(folder: Path, first: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=first, flush_secs=10)

    def configure(self, values: Mapping[str, object]) -> None:
        """Log the configuration as YAML text."""
        text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
        self._writer.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log_points(self, points: Sequence[Point]) -> None:
        """Log scalars with the time of their log lines."""
        for point in points:
            for name, value in point.values.items():
                self._writer.add_scalar(name, value, point.step, walltime=point.time_s)
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """Hide later steps of earlier files."""
        self._writer.close()
        self._writer = self._open(Path(self.location), step + 1)

    def log_summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Log numbers as scalars, and other values as text."""
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def log_image(self, name: str, png: bytes, step: int) -> None:
        """Log an image at a step."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """Close the file; TensorBoard has no mark for a failed run."""
        self._writer.close()
