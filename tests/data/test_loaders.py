import gc
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from offnormal.data import loaders as loader_module
from offnormal.data.loaders import ImageLoader, open_loader
from offnormal.data.video_loader import VideoLoader, VideoOptions
from offnormal.errors import DataError, ImageError, VideoError
from offnormal.types import ANOMALOUS, NORMAL, InputSpec
from tests.footage import film
from tests.items import image, video
from tests.video_files import write_video

SPEC = InputSpec(size=(8, 12))


def test_items_come_from_a_loader_of_their_kind_with_the_options_of_that_kind(tmp_path):
    Image.new("L", (12, 8), 255).save(tmp_path / "a.png")
    write_video(tmp_path / "a.mp4", film(0, frames=10), fps=10)
    options = VideoOptions(every_s=0.5)
    images = open_loader([image(tmp_path / "a.png", group="lot")], SPEC, batch_size=4, videos=options, masks=True)
    assert isinstance(images, ImageLoader)
    (batch,) = images
    assert (batch.pixels.dtype, batch.pixels.min(), batch.masks.any(), batch.frames) == (np.float32, 1, False, None)
    assert [(s.item.name, s.group, s.frame) for s in batch.samples] == [(str(tmp_path / "a.png"), "lot", None)]
    videos = open_loader([video(tmp_path / "a.mp4")], SPEC, batch_size=4, videos=options)
    assert isinstance(videos, VideoLoader)
    (batch,) = videos
    assert [(s.item.name, s.group, s.frame) for s in batch.samples] == [("a", "a", 0), ("a", "a", 5)]
    assert (images.every_s, videos.every_s) == (None, 0.5)
    assert ([end.video.name for end in videos.summaries], images.summaries) == (["a"], [])


@pytest.mark.parametrize(("item", "error"), [(image("gone.png"), ImageError), (video("gone.mp4"), VideoError)])
def test_bad_files_of_both_kinds_stop_or_are_listed(item, error):
    with pytest.raises(error, match=r"gone.*--on-error skip skips such (files|videos)"):
        list(open_loader([item], SPEC, batch_size=4))
    loader = open_loader([item], SPEC, batch_size=4, on_error="skip")
    assert list(loader) == []
    assert [bad.path for bad in loader.skipped] == [item.path]


def test_a_loader_over_other_items_starts_its_lists_anew():
    loader = open_loader([image("gone.png")], SPEC, batch_size=4, on_error="skip", progress=[].append)
    list(loader)
    copy = loader.with_items([image("b.png", group="b"), image("c.png")])
    assert (len(copy), copy.skipped, copy.groups(), copy.progress) == (2, [], ["b"], loader.progress)
    assert len(loader.skipped) == 1
    assert [item.address for item in copy.with_groups({"b"}).items] == ["b.png"]
    assert copy.without_progress().progress is None


@pytest.fixture
def images(tmp_path):
    """Seven images of different sizes; number i has the value 10 * i everywhere."""
    items = []
    for i in range(7):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (12 + i, 9 + 2 * i), (10 * i,) * 3).save(path)
        items.append(image(path))
    return items


def values(batch):
    return [round(float(v)) for v in batch.pixels.max((1, 2, 3)) * 255]


def spoil(sample):
    sample.path.write_bytes(sample.path.read_bytes()[:40])


def decoders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_come_in_order_with_a_short_last_one(images, workers):
    batches = list(ImageLoader(images, SPEC, batch_size=3, workers=workers))
    assert [values(batch) for batch in batches] == [[0, 10, 20], [30, 40, 50], [60]]
    assert [sample.item for batch in batches for sample in batch.samples] == images
    assert all(batch.pixels.shape[1:] == (3, 8, 12) and batch.pixels.dtype == np.float32 for batch in batches)
    assert all(batch.masks is None for batch in batches)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_every_batch_size_yields_every_image_once(images, batch_size):
    loader = ImageLoader(images, SPEC, batch_size=batch_size)
    assert [v for batch in loader for v in values(batch)] == [10 * i for i in range(7)]
    assert len(loader) == 7


def test_only_some_groups(images):
    grouped = [
        replace(sample, group=group) for sample, group in zip(images, ["a", "b", None, "a", "c", "b", "a"], strict=True)
    ]
    done = []
    loader = ImageLoader(grouped, SPEC, batch_size=2, on_error="skip", progress=done.append)
    spoil(images[3])
    some = loader.with_groups({"a", None})
    assert [values(batch) for batch in some] == [[0, 20], [60]]
    assert len(some) == 4
    assert len(some.skipped) == 1
    assert (len(loader), loader.skipped, done) == (7, [], [])


def test_no_samples_give_no_batches():
    assert list(ImageLoader([], SPEC, batch_size=2)) == []


def test_a_second_pass_is_equal_and_resets_its_lists(images):
    spoil(images[2])
    loader = ImageLoader(images, SPEC, batch_size=2, on_error="skip")
    first, second = list(loader), list(loader)
    assert [values(batch) for batch in first] == [values(batch) for batch in second]
    assert len(loader.skipped) == 1
    assert loader.waited_s >= 0


def test_progress_counts_every_sample_before_its_batch(images):
    spoil(images[6])
    done, counts = [], []
    for batch in ImageLoader(images, SPEC, batch_size=3, on_error="skip", progress=done.append):
        counts.append((len(batch.samples), sum(done)))
    assert counts == [(3, 3), (3, 6)]
    assert sum(done) == 7


def test_an_unreadable_file_is_an_error_with_its_name_and_advice(images):
    spoil(images[3])
    with pytest.raises(ImageError, match=r"3\.png: .*--on-error skip"):
        list(ImageLoader(images, SPEC, batch_size=2))
    assert not decoders()


def test_unreadable_files_are_skipped_and_listed(images):
    for i in (0, 4, 6):
        spoil(images[i])
    loader = ImageLoader(images, SPEC, batch_size=3, on_error="skip")
    assert [values(batch) for batch in loader] == [[10, 20, 30], [50]]
    assert [bad.path for bad in loader.skipped] == [images[i].path for i in (0, 4, 6)]
    assert all(bad.path.name in bad.reason for bad in loader.skipped)


def test_only_unreadable_files_make_no_batch(images):
    for sample in images:
        sample.path.write_text("no image")
    loader = ImageLoader(images, SPEC, batch_size=3, on_error="skip")
    assert list(loader) == []
    assert len(loader.skipped) == 7


def test_leaving_early_ends_the_threads(images):
    for batch in ImageLoader(images * 20, SPEC, batch_size=2, workers=4):
        assert values(batch) == [0, 10]
        assert decoders()
        break
    gc.collect()
    assert not decoders()


def test_leaving_early_does_not_start_pending_files(images, monkeypatch):
    real, started = loader_module.read_pixels, []

    def slow(path, spec, notes):
        started.append(path)
        if len(started) > 2:
            time.sleep(0.05)
        return real(path, spec, notes)

    monkeypatch.setattr(loader_module, "read_pixels", slow)
    for _ in ImageLoader(images, SPEC, batch_size=2, workers=1):
        break
    gc.collect()
    assert len(started) < len(images)


def test_an_error_in_the_loop_body_ends_the_threads(images):
    with pytest.raises(ZeroDivisionError):
        for batch in ImageLoader(images * 20, SPEC, batch_size=2, workers=4):
            len(batch.samples) / 0
    gc.collect()
    assert not decoders()


def test_only_a_few_images_are_buffered(images, monkeypatch):
    batch_size, workers, started, consumed = 2, 3, 0, 0
    max_pending, lock = 0, threading.Lock()
    real = loader_module.read_pixels

    def counted(path, spec, notes):
        nonlocal started, max_pending
        with lock:
            started += 1
            max_pending = max(max_pending, started - consumed)
        return real(path, spec, notes)

    monkeypatch.setattr(loader_module, "read_pixels", counted)
    for batch in ImageLoader(images * 30, SPEC, batch_size=batch_size, workers=workers):
        consumed += len(batch.samples)
    assert started == consumed == 210
    assert max_pending <= 3 * batch_size + workers + 1  # whatever the number of images


def test_8_bit_and_16_bit_images_have_the_same_scale(tmp_path):
    Image.new("L", (12, 8), 51).save(tmp_path / "8.png")
    Image.fromarray(np.full((8, 12), 819, np.uint16)).save(tmp_path / "12.png")
    Image.fromarray(np.full((8, 12), 0.2, np.float32)).save(tmp_path / "f.tif")
    spec = InputSpec(size=(8, 12), levels=(0, 4095))
    samples = [image(tmp_path / name) for name in ("8.png", "12.png", "f.tif")]
    (batch,) = ImageLoader(samples, spec, batch_size=3)
    np.testing.assert_allclose(batch.pixels, np.full((3, 3, 8, 12), 0.2), atol=1e-6, rtol=0)
    alone = [b.pixels for b in ImageLoader(samples, spec, batch_size=1)]
    assert np.array_equal(np.concatenate(alone), batch.pixels)


def with_mask(tmp_path, mask, *, size=(12, 8), name="m.png", **save):
    Image.new("RGB", size).save(tmp_path / "x.png", **save)
    Image.fromarray(mask).save(tmp_path / name)
    return image(tmp_path / "x.png", label=ANOMALOUS, mask=tmp_path / name)


def test_masks_have_the_input_size_and_are_empty_for_images_without_one(tmp_path):
    marks = np.zeros((16, 24), np.uint8)
    marks[4:8, 6:12] = 1
    bad = with_mask(tmp_path, marks, size=(24, 16))
    good = image(bad.path, label=NORMAL)
    (batch,) = ImageLoader([bad, good], SPEC, batch_size=2, masks=True)
    assert batch.masks.shape == (2, 8, 12)
    assert batch.masks.dtype == bool
    np.testing.assert_array_equal(batch.masks[0], marks[1::2, 1::2] > 0)
    assert not batch.masks[1].any()


def test_a_mask_of_another_size_is_an_error_even_when_unreadable_files_are_skipped(tmp_path):
    sample = with_mask(tmp_path, np.ones((12, 8), np.uint8))
    with pytest.raises(DataError, match=r"m\.png: the mask has 12x8 pixels, its image 8x12"):
        list(ImageLoader([sample], SPEC, batch_size=1, masks=True, on_error="skip"))


def test_the_mask_of_a_rotated_image_has_the_displayed_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    marks = np.zeros((12, 8), np.uint8)
    marks[:3] = 255
    sample = with_mask(tmp_path, marks, exif=exif)
    (batch,) = ImageLoader([sample], InputSpec(size=(12, 8)), batch_size=1, masks=True)
    np.testing.assert_array_equal(batch.masks[0], marks > 0)


def test_a_damaged_mask_skips_its_image_and_is_named(tmp_path):
    sample = with_mask(tmp_path, np.ones((8, 12), np.uint8))
    sample.masks.path.write_text("no image")
    loader = ImageLoader([sample], SPEC, batch_size=1, masks=True, on_error="skip")
    assert list(loader) == []
    assert "m.png" in loader.skipped[0].reason
