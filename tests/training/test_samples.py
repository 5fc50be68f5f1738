import pickle

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import DataError
from offnormal.training import gather as gathering
from offnormal.training.gather import Storage, _StreamedImages, _StreamedVideos, gather
from offnormal.training.rows import FileRows, RamRows
from offnormal.training.samples import Order, StoredSamples, to_unit
from offnormal.types import InputSpec
from tests.footage import film
from tests.items import image, video
from tests.video_files import write_video

SPEC = InputSpec(size=(16, 16))
CLIPS = InputSpec(size=(16, 16), frames=3, hop=2)


def loader(folder, **more):
    return ImageLoader(normal_items(folder), SPEC, batch_size=4, **more)


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    return [video(write_video(folder / f"{n}.mp4", film(n, frames=21 + n), fps=10), name=str(n)) for n in range(3)]


def videos(footage, spec=CLIPS, **more):
    return VideoLoader(footage, spec, batch_size=4, **more)


def storage(tmp_path, cache="ram", **more):
    return Storage(cache=cache, folder=tmp_path / "cache", **more)


def order(epoch=0, batch_size=7, **more):
    return Order(seed=0, epoch=epoch, batch_size=batch_size, **more)


def pixels_by_frame(source):
    """Pixels by (path, frame), from a plain pass."""
    return {
        (sample.item.path, sample.frame): pixels
        for batch in source
        for sample, pixels in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True)
    }


def run_pass(source, order):
    """Return names and pixels of a pass over a source."""
    portions = list(source.epoch(order))
    names = [(sample.item.path, sample.frame) for portion in portions for sample in portion.samples]
    return names, torch.cat([to_unit(portion.pixels) for portion in portions])


@pytest.mark.parametrize("cache", ["ram", "disk", "off"])
def test_images_are_those_of_a_loader_in_random_order(pictures, tmp_path, cache):
    source, skipped = gather(loader(pictures), storage(tmp_path, cache))
    assert skipped == []
    assert isinstance(source, _StreamedImages if cache == "off" else StoredSamples)
    expected = pixels_by_frame(loader(pictures))
    names, pixels = run_pass(source, order())
    assert len(names) == len(set(names)) == 28  # 4 whole batches of 30 pictures
    assert all(torch.equal(actual, expected[name]) for name, actual in zip(names, pixels, strict=True))
    assert names != run_pass(source, order(epoch=1))[0]
    assert names == run_pass(source, order())[0]
    source.close()
    assert list((tmp_path / "cache").glob(".*")) == [] if cache == "disk" else True


@pytest.mark.parametrize("cache", ["ram", "disk", "off"])
@pytest.mark.parametrize("spec", [CLIPS, InputSpec(size=(16, 16)), InputSpec(size=(16, 16), frames=2, fps=5.0)])
def test_clips_are_those_of_a_loader_in_random_order(footage, tmp_path, spec, cache):
    source, _ = gather(videos(footage, spec), storage(tmp_path, cache))
    assert isinstance(source, _StreamedVideos if cache == "off" else StoredSamples)
    expected = pixels_by_frame(videos(footage, spec))
    assert len(source) == len(expected)
    names, pixels = run_pass(source, order(batch_size=len(source)))
    assert set(names) == set(expected)
    assert all(torch.equal(actual, expected[name]) for name, actual in zip(names, pixels, strict=True))
    assert names != list(expected)
    in_order = list(source.loader(5))
    assert [(s.item.path, s.frame) for batch in in_order for s in batch.samples] == list(expected)
    plain = list(videos(footage, spec))
    assert np.array_equal(
        np.concatenate([batch.frames for batch in in_order]), np.concatenate([batch.frames for batch in plain])
    )


@pytest.mark.parametrize("cache", ["ram", "off"])
def test_a_few_samples_are_evenly_spaced(pictures, footage, tmp_path, cache):
    source, _ = gather(loader(pictures), storage(tmp_path, cache))
    expected = list(pixels_by_frame(loader(pictures)).items())
    few = list(source.spread(3).loader(2))
    assert [(s.item.path, s.frame) for batch in few for s in batch.samples] == [expected[k][0] for k in (5, 15, 25)]
    assert np.array_equal(np.concatenate([batch.pixels for batch in few])[1], expected[15][1])
    assert len(source.spread(100)) == len(source) == 30
    clips, _ = gather(videos(footage, CLIPS), storage(tmp_path, cache))
    assert len(clips.spread(3)) == (3 if cache == "ram" else len(clips))  # streamed clips come in sequence


def test_each_frame_of_overlapping_clips_is_stored_once(footage, tmp_path):
    spec = InputSpec(size=(16, 16), frames=5)
    source, _ = gather(videos(footage, spec), storage(tmp_path))
    frames = sum(21 + n for n in range(3))
    assert source.rows.nbytes == frames * 3 * 16 * 16
    assert source.row_numbers.size > 4 * frames


def test_a_resumed_epoch_yields_the_remaining_batches(pictures, footage, tmp_path):
    for tested_loader in (loader(pictures), videos(footage)):
        for cache in ("ram", "off"):
            source, _ = gather(tested_loader, storage(tmp_path, cache))
            whole, remaining = (list(source.epoch(order(skip=skip))) for skip in (0, 2))
            assert [p.samples for p in remaining] == [p.samples for p in whole[2:]]


@pytest.mark.parametrize("cache", ["ram", "off"])
def test_ranks_share_every_batch(pictures, footage, tmp_path, cache):
    for tested_loader in (loader(pictures), videos(footage)):
        source, _ = gather(tested_loader, storage(tmp_path, cache))
        whole = list(source.epoch(order()))
        parts = [list(source.epoch(order(rank=rank, ranks=2))) for rank in range(2)]
        for portion, *shares in zip(whole, *parts, strict=True):
            assert [len(share.samples) for share in shares] == [4, 3]
            assert [share.whole for share in shares] == [7, 7]
            assert sorted(map(str, portion.samples)) == sorted(str(s) for share in shares for s in share.samples)


def test_a_set_smaller_than_a_batch_is_one_batch(pictures, tmp_path):
    source, _ = gather(loader(pictures), storage(tmp_path))
    (portion,) = source.epoch(order(batch_size=64))
    assert len(portion.samples) == portion.whole == 30


def test_samples_that_do_not_fit_are_read_again_with_one_warning(pictures, footage, tmp_path, caplog):
    source, _ = gather(loader(pictures), storage(tmp_path, free_bytes=29 * 16 * 16 * 3))
    assert isinstance(source, _StreamedImages)
    assert caplog.text.count("do not fit") == 1
    source, _ = gather(videos(footage), storage(tmp_path, free_bytes=10_000))
    assert isinstance(source, _StreamedVideos)
    assert caplog.text.count("do not fit") == 2
    assert "--cache disk" in caplog.text


def test_several_sources_share_the_storage(pictures, tmp_path):
    shared = storage(tmp_path, free_bytes=50 * 16 * 16 * 3)
    kinds = [type(gather(loader(pictures), shared)[0]) for _ in range(2)]
    assert kinds == [StoredSamples, _StreamedImages]


@pytest.mark.parametrize("cache", ["ram", "off"])
def test_unreadable_files_are_skipped_in_every_pass(pictures, tmp_path, cache):
    (tmp_path / "bad.png").write_text("no picture")
    samples = [image(tmp_path / "bad.png"), *normal_items(pictures)]
    source, skipped = gather(ImageLoader(samples, SPEC, batch_size=4, on_error="skip"), storage(tmp_path, cache))
    assert [skip.path.name for skip in skipped] == ["bad.png"]
    assert len(source) == 30
    assert len(run_pass(source, order(batch_size=10))[0]) == 30
    with pytest.raises(DataError, match="no normal sample could be read"):
        gather(ImageLoader(samples[:1], SPEC, batch_size=4, on_error="skip"), storage(tmp_path, cache))


def test_clips_are_shuffled_in_a_buffer_of_bounded_size(footage, monkeypatch, tmp_path):
    monkeypatch.setattr(gathering, "_BUFFER_BYTES", 4 * 3 * 16 * 16)
    source, _ = gather(videos(footage), storage(tmp_path, "off"))
    names, _ = run_pass(source, order(batch_size=len(source)))
    assert len(set(names)) == len(source)
    first = next(source.epoch(order(batch_size=2)))
    assert len({s.item.path for s in first.samples}) == 1  # does not wait for further videos


def test_fewer_clips_than_before_are_an_error(footage, tmp_path):
    source, _ = gather(videos(footage), storage(tmp_path, "off"))
    source.count += 50
    with pytest.raises(DataError, match="fewer clips than the"):
        list(source.epoch(order(batch_size=20)))


def test_deep_images_keep_their_precision(tmp_path):
    from PIL import Image

    folder = tmp_path / "deep"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 65536, (16, 16), dtype=np.uint16)).save(folder / f"{number}.png")
    Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / "eight.png")
    for cache in ("ram", "disk"):
        source, _ = gather(loader(folder), storage(tmp_path, cache))
        expected = pixels_by_frame(loader(folder))
        names, pixels = run_pass(source, order(batch_size=4))
        assert all(torch.equal(actual, expected[name]) for name, actual in zip(names, pixels, strict=True))


@pytest.mark.parametrize("make", [lambda folder: RamRows(), FileRows])
def test_rows_are_restored(make, tmp_path):
    rows = make(tmp_path)
    rng = np.random.default_rng(0)
    gray = np.broadcast_to(rng.integers(0, 256, (4, 5), dtype=np.uint8), (3, 4, 5))
    arrays = [
        rng.integers(0, 256, (4, 5, 3), dtype=np.uint8).transpose(2, 0, 1),
        gray,
        rng.random((3, 4, 5), np.float32),
    ]
    assert [rows.add(array) for array in arrays] == [0, 1, 2]
    for number, array in enumerate(arrays):
        assert np.array_equal(rows[number], array)
        assert rows[number].dtype == array.dtype
    rows.close()


def test_shared_rows_are_picklable_and_leave_no_file(tmp_path):
    rows = FileRows(tmp_path, shared=True)
    rows.add(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    opened = pickle.loads(pickle.dumps(rows))
    assert np.array_equal(opened[0], rows[0])
    assert len(list(tmp_path.iterdir())) == 1
    opened.mark_shared()
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(opened[0], rows[0])
    rows.close()


def test_rows_of_one_process_have_no_file_name(tmp_path):
    rows = FileRows(tmp_path)
    rows.add(np.zeros((1, 2, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
    assert rows[0].sum() == 0


def test_stored_samples_can_be_selected_by_group(footage, tmp_path):
    source, _ = gather(videos(footage), storage(tmp_path))
    part = source.loader(4).with_groups({"1"})
    assert [(s.item.path, s.frame) for b in part for s in b.samples] == list(pixels_by_frame(videos(footage[1:2])))
    assert part.sample_count == len(part) > 0
