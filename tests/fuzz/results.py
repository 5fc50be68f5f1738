"""Fuzzed readers of what fits and evaluations wrote: score tables, metrics, and bundles."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tests.fuzz.reader import Reader


class Tables(Reader):
    def write_seeds(self, folder):
        from offnormal.types import Unit
        from tests.evaluations import image_evaluation, write_run

        self.units = (Unit.IMAGE, Unit.FRAME, Unit.CLIP)
        run = self.folder / "run"
        write_run(run, image_evaluation())
        config = {"detector": {"name": "padim", "dims": 100, "layers": [1, 2]}, "input": {"size": [64, 64]}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        shutil.copytree(run, folder)
        (folder / "short.csv").write_text("\n".join((folder / "scores.csv").read_text().splitlines()[:4]))
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.evaluation.scores_csv import read_table
        from offnormal.evaluation.stored import read_evaluation

        if path.suffix == ".csv":
            for unit in self.units:
                self.read(read_table, path, unit)
        target = self.folder / "run" / self.source.name.replace("short", "scores")
        original = target.read_bytes()
        try:
            shutil.copyfile(path, target)
            stored = self.read(read_evaluation, target.parent)
        finally:
            target.write_bytes(original)
        assert stored is None or len(stored.table) == len(stored.table.score)


class Bundles(Reader):
    def write_seeds(self, folder):
        from offnormal.api import fit

        images = self.folder / "images"
        images.mkdir()
        for number in range(30):
            values = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(values).save(images / f"{number}.png")
        options = {"normal": images, "size": 16, "out": self.folder / "runs", "workers": 1}
        run = fit("pixel_gaussian", **options)
        shutil.copytree(run.path / "bundle", folder)
        shutil.copytree(folder, self.folder / "bundle")
        self._card = (folder / "card.json").read_bytes()
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def check(self, path: Path) -> None:
        from offnormal.bundle import load

        bundle = self.folder / "bundle"
        target, card = bundle / self.source.relative_to(self.folder / "seeds"), bundle / "card.json"
        try:
            shutil.copyfile(path, target)
            if target != card and self.random.random() < 0.75:  # as somebody who wants to be believed
                values = json.loads(self._card)
                for name in values["sha256"]:
                    values["sha256"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
                card.write_text(json.dumps(values))
            self.read(load, bundle)
        finally:
            shutil.copyfile(self.source, target)
            card.write_bytes(self._card)
