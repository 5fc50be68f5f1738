import gc
import logging
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from offnormal.data import video_reading
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import ConfigError, DataError, VideoError
from offnormal.types import ANOMALOUS, NORMAL, InputSpec, MaskSource, Resize
from tests.data.memory_videos import SIZE, VideoStore

SPEC = InputSpec(size=SIZE)


@pytest.fixture
def store(tmp_path, monkeypatch):
    video_store = VideoStore(tmp_path)
    monkeypatch.setattr(video_reading, "open_video", video_store.open_video)
    return video_store


def clips(**more):
    return InputSpec(size=SIZE, **{"frames": 3, **more})


def values(batches):
    """The first pixel of every frame of every clip."""
    return [
        (clip.reshape(clip.shape[0], -1, *SIZE)[0, :, 0, 0] * 255).round().astype(int).tolist()
        for batch in batches
        for clip in batch.pixels
    ]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "resize"))]


def settle(store):
    while True:
        before = len(store.decoded)
        time.sleep(0.1)
        if len(store.decoded) == before:
            return before


@pytest.mark.parametrize("workers", [1, 4])
def test_frames_of_several_videos_in_order_in_full_batches(store, workers):
    videos = [store.add("a", count=4), store.add("b", count=1, base=50), store.add("c", count=2, base=90)]
    batches = list(VideoLoader(videos, SPEC, batch_size=3, workers=workers))
    assert [len(batch.samples) for batch in batches] == [3, 3, 1]
    assert values(batches) == [[0], [1], [2], [3], [50], [90], [91]]
    assert batches[0].pixels.shape == (3, 3, *SIZE)
    assert batches[0].pixels.dtype == np.float32
    samples = [sample for batch in batches for sample in batch.samples]
    assert [(s.item.path.stem, s.group, s.frame, s.time_s) for s in samples[:2]] == [
        ("a", "a", 0, 0.0),
        ("a", "a", 1, 0.04),
    ]
    assert all(batch.masks is None for batch in batches)
    assert not store.open


def test_clips_have_a_time_axis_and_never_span_two_videos(store):
    videos = [store.add("a", count=4), store.add("b", count=2, base=50), store.add("c", count=3, base=90)]
    (batch,) = VideoLoader(videos, clips(), batch_size=5)
    assert batch.pixels.shape == (3, 3, 3, *SIZE)
    assert values([batch]) == [[0, 1, 2], [1, 2, 3], [90, 91, 92]]
    assert [(s.item.path.stem, s.frame) for s in batch.samples] == [("a", 2), ("a", 3), ("c", 2)]
    assert batch.frames.tolist() == [[2], [3], [2]]


def test_a_frame_is_resized_once_for_all_its_clips(store, monkeypatch):
    resized, real = [], video_reading.frame_pixels
    monkeypatch.setattr(video_reading, "frame_pixels", lambda image, spec: resized.append(image) or real(image, spec))
    (batch,) = VideoLoader([store.add("a", size=(20, 30))], clips(frames=5), batch_size=50)
    assert batch.pixels.shape == (6, 3, 5, *SIZE)
    assert len(resized) == 10


def test_gray_clips_and_every_resize_policy(store):
    gray = InputSpec(size=SIZE, frames=2, channels=1, resize=Resize(policy="letterbox"))
    (batch,) = VideoLoader([store.add("a", count=2, base=128, size=(6, 30))], gray, batch_size=2)
    assert batch.pixels.shape == (1, 1, 2, *SIZE)
    assert 0.5 <= batch.pixels.min() <= batch.pixels.max() < 0.52


def test_a_label_is_that_of_the_last_target_or_any_frame_of_a_whole_clip(store):
    video = store.add("a", count=5, labels=[0, 1, 0, 0, 0])

    def labels(**more):
        return [s.label for batch in VideoLoader([video], clips(**more), batch_size=9) for s in batch.samples]

    assert labels() == [NORMAL] * 3
    assert labels(targets=(1,)) == [ANOMALOUS, NORMAL, NORMAL]
    assert labels(targets=(1, 0)) == [ANOMALOUS, NORMAL, NORMAL]
    assert labels(targets=()) == [ANOMALOUS, ANOMALOUS, NORMAL]


def test_batch_frames_are_the_targets(store):
    def frames(**more):
        (batch,) = VideoLoader([store.add("a", count=4)], clips(**more), batch_size=9)
        return batch.frames.tolist()

    assert frames(targets=(2, 0)) == [[2, 0], [3, 1]]
    assert frames(targets=()) == [[0, 2], [1, 3]]


def test_a_wrong_number_of_labels_warns_and_extra_frames_are_unlabeled(store, caplog):
    loader = VideoLoader([store.add("a", count=4, labels=[0, 1, 0])], SPEC, batch_size=9)
    (batch,) = loader
    assert [s.label for s in batch.samples] == [0, 1, 0, None]
    assert "3 labels for 4 frames" in loader.summaries[0].warnings[0]
    assert "3 labels for 4 frames" in caplog.text


def test_the_summary_of_a_video_comes_after_its_last_clip(store):
    videos = [store.add("a", count=6, lost=(2,)), store.add("b", count=1), store.add("c", truncated=True)]
    loader = VideoLoader(videos, clips(), batch_size=2)
    observed = [
        ([s.item.path.stem for s in batch.samples], [e.video.name for e in loader.summaries]) for batch in loader
    ]
    assert observed[0] == (["a", "c"], ["a", "b"])
    assert [e.video for e in loader.summaries] == videos
    assert [(e.frames, e.gaps) for e in loader.summaries] == [(6, (3,)), (1, ()), (10, ())]
    assert "truncated" in loader.summaries[2].warnings[0]
    np.testing.assert_array_equal(loader.summaries[0].times_s, [0, 0.04, np.nan, 0.12, 0.16, 0.2])


def test_a_slow_source_is_logged_once_and_in_every_summary(store, caplog):
    videos = [store.add(name, fps=5.0) for name in "abc"]
    loader = VideoLoader(videos, clips(fps=25.0), batch_size=4)
    list(loader)
    assert all("slow" in e.warnings[0] for e in loader.summaries)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_a_second_pass_is_equal(store):
    loader = VideoLoader([store.add("a"), store.add("b", unreadable=True)], clips(), batch_size=3, on_error="skip")
    assert values(list(loader)) == values(list(loader))
    assert (len(loader.skipped), len(loader.summaries)) == (1, 1)
    assert loader.waited_s > 0


def test_only_some_groups(store):
    videos = [store.add("a", group="x"), store.add("b"), store.add("c", group="x", count=2)]
    done = []
    loader = VideoLoader(videos, SPEC, batch_size=4, progress=done.append)
    some = loader.with_groups({"x"})
    assert {s.item.path.stem for batch in some for s in batch.samples} == {"a", "c"}
    assert (len(some), len(loader), done) == (12, 22, [])
    assert len(loader.with_groups({"b"})) == 10


def test_progress_counts_clips(store):
    done = []
    list(VideoLoader([store.add("a")], clips(), batch_size=3, progress=done.append))
    assert sum(done) == 8


def test_the_length_of_a_loader_is_the_number_of_clips(store):
    add = store.add
    videos = [add("a"), add("b", count=2), add("c", unreadable=True), add("d", stated_frames=None), add("e", count=0)]
    assert len(VideoLoader(videos, clips(), batch_size=1)) == 8 + 8
    assert len(VideoLoader(videos[:1], clips(hop=3), batch_size=1)) == 3
    assert len(VideoLoader(videos[:1], clips(sampling="uniform"), batch_size=1)) == 1
    assert len(VideoLoader([add("f", count=100)], SPEC, batch_size=1, every_s=1.0)) == 5


def test_every_s_sets_the_seconds_between_clips(store):
    video = store.add("a", count=100)
    (batch,) = VideoLoader([video], SPEC, batch_size=9, every_s=1.0)
    assert [s.frame for s in batch.samples] == [0, 25, 50, 75]
    (batch,) = VideoLoader([video], clips(), batch_size=9, every_s=1.0)
    assert [s.frame for s in batch.samples] == [2, 27, 52, 77]


def test_a_uniform_clip_of_each_video(store):
    videos = [store.add("a"), store.add("b", count=7, base=100, exact=False, stated_frames=9)]
    (batch,) = VideoLoader(videos, clips(sampling="uniform"), batch_size=9)
    assert values([batch]) == [[0, 4, 9], [100, 103, 106]]


def test_an_unreadable_video_is_an_error_with_its_name_and_advice(store):
    videos = [store.add("a"), store.add("b", unreadable=True), store.add("c")]
    with pytest.raises(VideoError, match=r"b\.mp4: no video stream; --on-error skip"):
        list(VideoLoader(videos, SPEC, batch_size=2))
    assert not threads()


def test_unreadable_videos_are_skipped_and_listed(store):
    videos = [store.add("a", unreadable=True), store.add("b", count=3), store.add("c", fails_at=2, base=60)]
    loader = VideoLoader(videos, SPEC, batch_size=2, on_error="skip", workers=1)
    assert values(loader)[:3] == [[0], [1], [2]]
    assert [(bad.path.stem, bad.reason.split()[-1]) for bad in loader.skipped] == [("a", "stream"), ("c", "damaged")]
    assert [e.video.name for e in loader.summaries] == ["b"]


def test_a_bug_is_raised_with_the_name_of_the_video_even_with_skip(store):
    with pytest.raises(ZeroDivisionError) as raised:
        list(VideoLoader([store.add("a"), store.add("b", breaks_at=3)], SPEC, batch_size=2, on_error="skip"))
    assert "video b" in raised.value.__notes__[0]
    assert not threads()


def test_leaving_early_ends_the_threads_promptly_and_closes_the_videos(store):
    videos = [store.add(name, count=10_000) for name in "abcd"]
    for _ in VideoLoader(videos, clips(), batch_size=2, workers=4):
        assert threads()
        break
    start = time.perf_counter()
    gc.collect()
    assert not threads()
    assert time.perf_counter() - start < 5
    assert not store.open
    assert len(store.decoded) < 200


def test_an_error_in_the_loop_body_ends_the_threads(store):
    with pytest.raises(ZeroDivisionError):
        for batch in VideoLoader([store.add("a", count=10_000)], SPEC, batch_size=2):
            len(batch.samples) / 0
    gc.collect()
    assert not threads()


@pytest.mark.parametrize("hop", [1, 4])
def test_only_a_few_frames_are_prefetched(store, hop):
    batches = iter(VideoLoader([store.add("a", count=5000)], clips(hop=hop), batch_size=8, workers=2))
    next(batches)
    assert settle(store) <= 8 * hop + 2 * 8 + 2 * hop + 10
    batches.close()


def test_the_next_video_is_prefetched(store):
    batches = iter(VideoLoader([store.add("a", count=3), store.add("b"), store.add("c")], SPEC, batch_size=2))
    next(batches)
    settle(store)
    assert "b.mp4" in {name for name, _ in store.decoded}
    batches.close()


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cached_pass_is_equal_and_decodes_nothing(store, tmp_path, kind):
    videos = [store.add("a", size=(20, 30), group="x"), store.add("b", lost=(4,)), store.add("c", fps=None)]
    loader = VideoLoader(videos, clips(), batch_size=4, cache=kind, cache_dir=tmp_path / "cache")
    first = list(loader)
    ended, store.decoded = loader.summaries, []
    second = list(loader)
    assert store.decoded == []
    assert all(
        np.array_equal(a.pixels, b.pixels) and a.samples == b.samples for a, b in zip(first, second, strict=True)
    )
    assert [(e.video, e.frames, e.gaps) for e in loader.summaries] == [(e.video, e.frames, e.gaps) for e in ended]
    list(loader.with_groups({"x"}))
    assert store.decoded == []


def test_incomplete_and_damaged_videos_are_not_cached(store):
    loader = VideoLoader([store.add("a", count=200), store.add("b", truncated=True)], SPEC, batch_size=4, cache="ram")
    for _ in loader:
        break
    gc.collect()
    for _ in range(2):
        store.decoded = []
        assert len(values(loader)) == 210
        assert len(loader.summaries[1].warnings) == 1
    assert {name for name, _ in store.decoded} == {"b.mp4"}


def test_a_cache_on_disk_needs_a_folder(store):
    with pytest.raises(ConfigError, match="cache_dir"):
        VideoLoader([], SPEC, batch_size=1, cache="disk")


class Marks:
    """Mask i marks column i."""

    def __init__(self, count, size=SIZE):
        self.count, self.size, self.closed = count, size, False

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        marked = np.zeros(self.size, bool)
        marked[:, index] = True
        return marked

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


@pytest.fixture
def masked(store, monkeypatch, tmp_path):
    def make(marks, **video):
        monkeypatch.setattr(video_reading, "open_masks", lambda _source: marks)
        return replace(store.add("m", **video), masks=MaskSource(path=tmp_path))

    return make


@pytest.mark.parametrize("cache", ["off", "ram"])
def test_masks_are_those_of_the_targets_and_empty_for_videos_without(masked, store, cache):
    marks = Marks(5)
    videos = [masked(marks, count=5), store.add("n", count=3)]
    loader = VideoLoader(videos, clips(targets=(0, 2)), batch_size=9, masks=True, cache=cache)
    for batch in (*loader, *loader):
        assert batch.masks.shape == (8, *SIZE)
        assert [np.flatnonzero(mask[0]).tolist() for mask in batch.masks] == [[0], [2], [1], [3], [2], [4], [], []]
        assert marks.closed
        assert loader.mask_summary.count == 5  # a mask that is read for two clips counts once


def test_masks_are_resized_like_frames(masked):
    video = masked(Marks(5, size=(16, 24)), count=5, size=(16, 24))
    (batch,) = VideoLoader([video], SPEC, batch_size=9, masks=True)
    assert [np.flatnonzero(mask[0]).tolist() for mask in batch.masks] == [[0], [0], [1], [1], [2]]


@pytest.mark.parametrize(
    ("marks", "message"), [(Marks(3), r"no mask for frame 3 \(3 masks\)"), (Marks(9, size=(12, 8)), "12x8 .* 8x12")]
)
def test_masks_that_do_not_match_the_video_are_an_error(masked, marks, message):
    with pytest.raises(DataError, match=f"video m.*{message}"):
        list(VideoLoader([masked(marks, count=5)], SPEC, batch_size=9, masks=True, on_error="skip"))


def test_invalid_arguments_are_rejected(store):
    with pytest.raises(ConfigError, match="scored as a whole"):
        VideoLoader([], clips(targets=()), batch_size=1, masks=True)
    with pytest.raises(DataError, match="more than once"):
        VideoLoader([store.add("a")] * 2, SPEC, batch_size=1)
    with pytest.raises(ConfigError, match="above 0"):
        VideoLoader([], SPEC, batch_size=1, every_s=0)


def test_a_video_is_cut_into_stretches_that_can_be_loaded_separately(store):
    videos = [store.add("a", count=10)]
    loader = VideoLoader(videos, SPEC, batch_size=4, stretches=5)
    groups = [sample.group for batch in loader for sample in batch.samples]
    assert groups == [f"a {1 + i // 2}/5" for i in range(10)]
    assert values(loader.with_groups({"a 2/5", "a 5/5"})) == [[2], [3], [8], [9]]
    assert values(loader.with_groups({"b 1/5"})) == []
    assert (loader.sample_count, loader.with_groups({"a 1/5"}).stretches) == (10, 5)
    assert loader.groups() == [f"a {number}/5" for number in range(1, 6)]


def test_clips_that_start_in_another_stretch_are_skipped_on_request(store):
    loader = VideoLoader([store.add("a", count=10)], clips(), batch_size=4, stretches=5)
    later = {"a 3/5", "a 4/5", "a 5/5"}
    assert values(loader.with_groups(later))[0] == [2, 3, 4]
    apart = loader.with_groups(later, skip_straddling=True)
    assert values(apart) == [[4, 5, 6], [5, 6, 7], [6, 7, 8], [7, 8, 9]]
    assert apart.sample_count == 4
    assert values(loader.with_groups({"a 1/5", "a 2/5"}, skip_straddling=True)) == [[0, 1, 2], [1, 2, 3]]


def test_on_frame_gets_decoded_frames_before_their_clips(store):
    video = store.add("a", count=6, size=(16, 24), lost=(3,))
    observed = []
    loader = VideoLoader([video], clips(frames=2), batch_size=1, on_frame=observed.append)
    for batch in loader:
        assert batch.samples[0].frame in [frame.index for frame in observed]
    assert [frame.index for frame in observed] == [0, 1, 2, 4, 5]
    assert all(frame.image.shape == (16, 24, 3) for frame in observed)


def test_with_every_s_only_the_frames_of_clips_are_resized(store, monkeypatch):
    from offnormal.data import video_reading

    resized = []
    plain = video_reading.frame_pixels
    monkeypatch.setattr(video_reading, "frame_pixels", lambda *args: (resized.append(1), plain(*args))[1])
    video = store.add("a", count=100)
    every, all_of_them = (
        list(VideoLoader([video], clips(frames=2), batch_size=50, every_s=s, workers=1)) for s in (1.0, None)
    )
    assert len(resized) == 2 * len(every[0].samples) + 100
    frames = [sample.frame for sample in every[0].samples]
    dense = {sample.frame: batch.pixels[i] for batch in all_of_them for i, sample in enumerate(batch.samples)}
    for row, frame in enumerate(frames):
        assert np.array_equal(every[0].pixels[row], dense[frame])
