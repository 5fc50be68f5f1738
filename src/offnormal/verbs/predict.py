"""offnormal predict: bundle x pictures -> verdicts one by one, with maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.calibration.calibration import Calibration
from offnormal.data.geometry import restore_size
from offnormal.data.image_loader import ImageLoader
from offnormal.data.resolve import unique_names
from offnormal.files import new_file
from offnormal.report.overlay import overlay, scale_for
from offnormal.sources.image import as_rgb, open_image
from offnormal.sources.privacy import paint
from offnormal.types import InputSpec, Item, Verdict
from offnormal.verbs.judging import Judging


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is said of one picture, and where its map was written."""

    path: Path
    verdict: Verdict
    map: np.ndarray | None  # (H, W) float32 at input size; None when the method has no map
    overlay_path: Path | None = None
    anomaly_map_path: Path | None = None


class Predictor(Judging):
    """Goes over pictures in order; `skipped` lists those that could not be read."""

    def over(self, paths: Sequence[Path]) -> Iterator[Prediction]:
        """A prediction per readable picture, as soon as its batch is scored; nothing is kept."""
        names = unique_names(paths)
        loader = ImageLoader(
            [Item(address=str(path), name=str(path)) for path in paths],
            self.input,
            batch_size=self.config.batch_size,
            on_bad=self.config.on_bad,
            workers=self.config.workers,
            progress=self.counter(len(paths)),
        )
        for scored in self.scorer.over(loader):
            maps = scored.scores.map
            for row, sample in enumerate(scored.samples):
                verdict = self.verdict(float(scored.scores.score[row]))
                found = None if maps is None else maps[row]
                picture = raw = None
                if self.config.overlays is not None and found is not None:
                    picture, raw = write_map(
                        sample.item.path,
                        found,
                        self.input,
                        self.calibration,
                        names[sample.item.path],
                        self.config.overlays,
                    )
                yield Prediction(sample.item.path, verdict, found, picture, raw)
        self.skipped = loader.skipped


def write_map(
    path: Path, found: np.ndarray, spec: InputSpec, calibration: Calibration | None, name: str, folder: Path
) -> tuple[Path, Path]:
    """A heat-map picture `<name>.png` and the raw map `<name>.tiff` (32-bit float), both at the picture's own size."""
    image = paint(np.asarray(as_rgb(open_image(path), bits=spec.bits)), spec.mask)
    full = restore_size(found, (image.shape[0], image.shape[1]), spec)
    low, high = scale_for(calibration, [full])
    threshold = calibration.pixel_threshold if calibration is not None else None
    picture, raw = folder / f"{name}.png", folder / f"{name}.tiff"
    with new_file(picture) as partial:
        overlay(image, full, threshold=threshold, low=low, high=high).save(partial)
    with new_file(raw) as partial:
        Image.fromarray(full).save(partial, compression="tiff_adobe_deflate")
    return picture, raw
