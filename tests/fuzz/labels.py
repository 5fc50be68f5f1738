"""Fuzzed readers of labels: arrays, tables, masks of frames, and manifests."""

from __future__ import annotations

import csv
import io

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.data.footage import cells, clip, save_hdf5
from tests.fuzz.reader import Reader


class Labels(Reader):
    def write_seeds(self, folder):
        self.frames = clip(self.folder / "frames", 6)
        folder.mkdir()
        labels = np.array([0, 0, 1, 1, 1, 0], np.uint8)
        spans = [np.array([[1.0, 4], [2, 5]]), np.array([[3.0], [6]]), np.zeros((0, 0))]
        np.save(folder / "a.npy", labels)
        np.save(folder / "masks.npy", np.zeros((6, 4, 5), bool))
        np.savez_compressed(folder / "a.npz", frame_labels_a=labels, mask_a=np.ones((6, 4, 5), np.uint8))
        np.savez(folder / "stored.npz", frame_labels_a=labels)
        savemat(folder / "a.mat", {"gt": cells(spans), "l": labels[None]})
        savemat(folder / "packed.mat", {"gt": spans[0], "l": labels[None]}, do_compression=True)
        save_hdf5(folder / "new.mat", "gt", spans)
        (folder / "a.csv").write_text("start,end\n1,2\n4,5\n")
        (folder / "each.csv").write_text("label\n0\n0\n1\n1\n1\n0\n")
        (folder / "a.txt").write_text("0 0 1 1 1 0")
        (folder / "a.m").write_text("TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [1:2, 4];\n")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.data.array_files import Archive, read_npy
        from offnormal.data.frame_labels import mat_spans, memae_labels, parse_labels, read_labels, ucsd_spans
        from offnormal.data.frame_masks import frame_labels, open_masks
        from offnormal.types import MaskSource

        def masks(key=None):
            with open_masks(MaskSource(path=path, key=key)) as opened:
                frame_labels(opened)

        def arrays():
            archive = Archive(path)
            for name in archive.names:
                archive.shape(name)
                parse_labels(archive.read(name), name)

        reads = {
            ".npy": (lambda: read_labels(path, self.frames), masks, lambda: read_npy(path, mapped=True)),
            ".npz": (arrays, masks, lambda: masks("mask_a")),
            ".mat": (lambda: mat_spans(path, 3), lambda: memae_labels(path), lambda: masks("gt")),
            ".csv": (lambda: read_labels(path, self.frames),),
            ".txt": (lambda: read_labels(path, self.frames),),
            ".m": (lambda: ucsd_spans(path),),
        }
        for read in reads[path.suffix]:
            self.read(read)


class Manifests(Reader):
    _ROWS = (
        ("address", "label", "mask", "group", "split"),
        ("a.png", "normal", "", "lot 1", "train"),
        ("b.png", "good", "", "lot 2", "val"),
        ("ü/c.png", "1", "m.png", "lot 2", "test"),
        ("d.png", "", "m.png", "", "test"),
    )

    def write_seeds(self, folder):
        import pyarrow
        from pyarrow import parquet

        folder.mkdir()
        for name in ("a.png", "b.png", "ü/c.png", "d.png", "m.png"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            Image.new("L", (4, 4), 255).save(self.folder / name)
        clip(self.folder / "clip", 2)
        (folder / "footage.csv").write_text("Address;Label\nclip;NG\n")
        for name, options in (("a", {}), ("semicolons", {"delimiter": ";"}), ("quoted", {"quoting": csv.QUOTE_ALL})):
            text = io.StringIO()
            csv.writer(text, **options).writerows(self._ROWS)
            (folder / f"{name}.csv").write_text(text.getvalue())
        columns = {name: values for name, *values in zip(*self._ROWS, strict=True)}
        parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
        parquet.write_table(pyarrow.table({"address": ["a.png"], "label": [1]}), folder / "numbers.parquet")
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.data.layouts.manifest import is_manifest, read_manifest
        from offnormal.types import ANOMALOUS

        assert is_manifest(path)
        dataset = self.read(read_manifest, path)
        if dataset is not None:
            assert all(item.path.exists() for item in (*dataset.train, *dataset.calibration, *dataset.test))
            assert not any(item.label == ANOMALOUS for item in (*dataset.train, *dataset.calibration))
