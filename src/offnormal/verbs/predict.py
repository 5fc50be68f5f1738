"""offnormal predict: bundle x pictures -> verdicts one by one, with maps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.calibration.calibration import Calibration
from offnormal.data.geometry import unlay
from offnormal.data.loader import Loader
from offnormal.errors import UsageError
from offnormal.files import new_file
from offnormal.report.overlay import overlay, scale_for
from offnormal.sources.image import as_rgb, open_image
from offnormal.sources.privacy import paint
from offnormal.types import InputSpec, Sample, Verdict
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
        loader = Loader(
            [Sample(path=path) for path in paths],
            self.input,
            batch_size=self.config.batch_size,
            on_error=self.config.on_error,
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
                        sample.path,
                        found,
                        self.input,
                        self.calibration,
                        names[sample.path],
                        self.config.overlays,
                    )
                yield Prediction(sample.path, verdict, found, picture, raw)
        self.skipped = loader.skipped


def apart_from(paths: Sequence[Path], overlays: Path | None, names: Sequence[str]) -> list[Path]:
    """The pictures less earlier overlays below a folder named, so that nothing is ever written over a picture.

    Raises UsageError when pictures to judge lie in the overlays' folder otherwise.
    """
    if overlays is None:
        return list(paths)
    out = overlays.resolve()
    kept = [path for path in paths if not path.resolve().is_relative_to(out)]
    folders = [Path(name).resolve() for name in names if Path(name).is_dir()]
    below = any(out != folder and out.is_relative_to(folder) for folder in folders)
    if len(kept) < len(paths) and not (below and kept):
        raise UsageError(
            f"--overlays {overlays} holds the pictures themselves: choose another folder for what is drawn"
        )
    return kept


def write_map(
    path: Path, found: np.ndarray, spec: InputSpec, calibration: Calibration | None, name: str, folder: Path
) -> tuple[Path, Path]:
    """A heat-map picture `<name>.png` and the raw map `<name>.tiff` (32-bit float), both at the picture's own size."""
    image = paint(np.asarray(as_rgb(open_image(path), bits=spec.bits)), spec.mask)
    full = unlay(found, (image.shape[0], image.shape[1]), spec)
    low, high = scale_for(calibration, [full])
    threshold = calibration.pixel_threshold if calibration is not None else None
    picture, raw = folder / f"{name}.png", folder / f"{name}.tiff"
    with new_file(picture) as partial:
        overlay(image, full, threshold=threshold, low=low, high=high).save(partial)
    with new_file(raw) as partial:
        Image.fromarray(full).save(partial, compression="tiff_adobe_deflate")
    return picture, raw


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Path -> name without suffix for what is written about it, below their common folder; no two are the same.

    >>> sorted(unique_names([Path("a/x.png"), Path("b/x.png"), Path("b/x.jpg")]).values())
    ['a/x', 'b/x.jpg', 'b/x.png']
    """
    if not paths:
        return {}
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    inside = {path: path.absolute().relative_to(root) for path in paths}
    stems: dict[Path, int] = {}
    for name in inside.values():
        stems[name.with_suffix("")] = stems.get(name.with_suffix(""), 0) + 1
    return {path: (n if stems[n.with_suffix("")] > 1 else n.with_suffix("")).as_posix() for path, n in inside.items()}
