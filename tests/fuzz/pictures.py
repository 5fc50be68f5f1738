"""Fuzzed readers of what is seen: images, masks, and videos."""

from __future__ import annotations

import contextlib
from functools import partial

import numpy as np
from PIL import Image

from tests.fuzz.reader import Reader
from tests.sources.deep_files import write_png, write_tiff
from tests.video_files import numbered, write_video


class Images(Reader):
    def write_seeds(self, folder):
        folder.mkdir()
        rgb = np.random.default_rng(0).integers(0, 255, (12, 17, 3)).astype(np.uint8)
        gray16 = rgb[..., 0].astype(np.uint16) * 257
        for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp", "ppm"):
            Image.fromarray(rgb).save(folder / f"a.{suffix}")
        Image.fromarray(gray16).save(folder / "deep.png")
        Image.fromarray(gray16).save(folder / "deep.tif", compression="tiff_lzw")
        Image.fromarray(rgb).convert("P").save(folder / "palette.png", transparency=0)
        Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(rgb).save(folder / "turned.jpg", exif=exif)
        Image.fromarray(rgb).save(folder / "turned.png", exif=exif)
        Image.fromarray(rgb).convert("1").save(folder / "bits.tif", compression="group4")
        deep = np.stack([gray16] * 3, -1)
        write_png(folder / "deep_rgb.png", deep)
        (folder / "deep.ppm").write_bytes(b"P6 17 12 65535\n" + deep.astype(">u2").tobytes())
        for number, options in enumerate(({}, {"deflate": True, "predictor": 2}, {"is_big": True, "order": ">"})):
            write_tiff(folder / f"deep{number}.tif", deep, **options)
        write_tiff(folder / "tiles.tif", deep, tile=(16, 16), planar=True)
        write_tiff(folder / "float.tif", gray16.astype(np.float32) / 65535)
        pages = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
        for suffix in ("gif", "tif", "webp", "png"):
            pages[0].save(folder / f"pages.{suffix}", save_all=True, append_images=pages[1:])
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.sources.image import image_depth, image_size, open_image, to_channels, to_rgb
        from offnormal.sources.pages import pages_in

        size = self.read(image_size, path)
        self.read(image_depth, path)
        self.read(lambda: to_rgb(open_image(path, at_least=(4, 4))))
        pages, _ = pages_in(path)
        for number, page in enumerate(pages[:3]):
            colors = self.read(lambda page=page: to_channels(open_image(page), 3))
            assert colors is None or number > 0 or np.asarray(colors).shape[:2] == size


class Masks(Reader):
    """Mask files of images; those of frames are labels."""

    def write_seeds(self, folder):
        folder.mkdir()
        marked = np.zeros((12, 17), np.uint8)
        marked[2:6, 3:9] = marked[9, 1:16] = 1
        for suffix in ("png", "bmp", "tif", "gif", "jpg"):
            Image.fromarray(255 * marked).save(folder / f"a.{suffix}")
        Image.fromarray(marked).save(folder / "ones.png")
        Image.fromarray(255 * marked).convert("1").save(folder / "bits.png")
        Image.fromarray(255 * marked).convert("P").save(folder / "palette.png", transparency=0)
        Image.fromarray(np.stack([marked * 0, marked * 255], -1), "LA").save(folder / "clear.png")
        Image.fromarray(marked.astype(np.uint16) * 65535).save(folder / "deep.png")
        write_tiff(folder / "float.tif", marked.astype(np.float32))
        return sorted(folder.iterdir())

    def check(self, path):
        from offnormal.data.mask_names import marks_anything
        from offnormal.data.masks import MaskSummary, check_mask
        from offnormal.sources.mask import open_mask
        from offnormal.sources.privacy import rasterize_mask, read_privacy_mask
        from offnormal.types import InputSpec

        marked = self.read(open_mask, path)
        if marked is not None:
            assert marked.ndim == 2 and marked.dtype == bool and self.read(marks_anything, path) == marked.any()
            spec = InputSpec(size=(8, 8))
            result = self.read(partial(check_mask, marked, spec, path.name, image_size=(12, 17), label=1))
            if result is not None:
                resized, report = result
                assert resized.shape == (8, 8) and bool(report.regions) == marked.any()
                summary = MaskSummary()
                summary.add(report)
                summary.notes()
        if self.random.random() < 0.2:  # it takes longer than everything else
            painted = self.read(read_privacy_mask, path)
            assert painted is None or rasterize_mask(painted, (12, 17)).shape == (12, 17)


class Videos(Reader):
    def write_seeds(self, folder):
        folder.mkdir()
        paths = []
        for suffix in ("mp4", "avi", "mkv", "ts"):
            path = folder / f"a.{suffix}"
            with contextlib.suppress(Exception):  # a codec that this build of FFmpeg lacks
                write_video(path, numbered(6))
                paths.append(path)
        assert len(paths) > 1
        return paths

    def check(self, path):
        from offnormal.sources.video import open_video
        from offnormal.sources.video_index import count_frames, frame_size, read_clock

        self.read(self._play, open_video, path)
        for read in (count_frames, read_clock, frame_size):
            self.read(read, path)

    @staticmethod
    def _play(open_video, path):
        with open_video(path) as video:
            for frame in video.frames():
                if frame.index > 50:
                    break
