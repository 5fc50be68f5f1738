"""Embedded samples: what is computed, what is stored, and what a training receives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import DataError
from offnormal.training.embedded import EmbeddingPass, EmbeddingsThenPixels
from offnormal.training.embedding_store import EmbeddingStore
from offnormal.training.gather import Storage, gather
from offnormal.training.loop import Job, train
from offnormal.training.rows import FileRows, RamRows
from offnormal.training.samples import Order
from offnormal.training.settings import FineTuning, TrainSettings
from offnormal.types import InputSpec
from tests.footage import film
from tests.items import video
from tests.training.glance import Glance
from tests.training.tiny import TinyOptions
from tests.video_files import cut, write_video

CLIPS = InputSpec(size=(16, 16), frames=3, hop=4, targets=())
WHOLE = InputSpec(size=(16, 16), frames=3, sampling="uniform", targets=())
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    lengths = (21, 2, 34, 27)  # the second is too short for a clip
    return [
        video(write_video(folder / f"{n}.mp4", film(n, frames=f), fps=10), name=str(n), class_name=f"act {n}")
        for n, f in enumerate(lengths)
    ]


def embedding(tmp_path, spec=CLIPS, *, store=True, cache="ram", **more):
    detector = Glance(TinyOptions(), spec, **more).eval()
    stored = EmbeddingStore(tmp_path / "kept", 1 << 24) if store else None
    storage = Storage(cache=cache, folder=tmp_path / "rows")
    return EmbeddingPass(detector=detector, device=CPU, batch_size=4, storage=storage, store=stored)


def loader(videos, spec=CLIPS, **more):
    return VideoLoader(videos, spec, batch_size=3, **more)


def plain_embeddings(pass_, batches):
    """Embeddings of each sample by (path, frame), from a plain pass over the pixels."""
    with torch.no_grad():
        return {
            (sample.item.path, sample.frame): pass_.detector.embed(pixels[None])[0]
            for batch in batches
            for sample, pixels in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True)
        }


@pytest.mark.parametrize("cache", ["ram", "disk", "off"])
@pytest.mark.parametrize("spec", [CLIPS, WHOLE, InputSpec(size=(16, 16), hop=5)])
def test_every_sample_is_embedded_once_in_order(footage, tmp_path, spec, cache):
    pass_ = embedding(tmp_path, spec, cache=cache)
    stored, skipped = pass_.embed(loader(footage, spec), 0)
    (plain,) = list(VideoLoader(footage, spec, batch_size=1000))
    assert skipped == []
    assert pass_.computed == len(stored) == len(plain.samples)
    assert stored.samples == plain.samples
    assert {sample.item.class_name for sample in stored.samples} <= {"act 0", "act 1", "act 2", "act 3"}
    (batch,) = list(stored.loader(1000))
    assert np.array_equal(batch.frames, plain.frames)
    expected = plain_embeddings(pass_, [plain])
    for sample, row in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True):
        torch.testing.assert_close(row, expected[sample.item.path, sample.frame])


def test_a_second_fit_reads_the_stored_embeddings_and_decodes_nothing(footage, tmp_path, monkeypatch):
    first, _ = embedding(tmp_path).embed(loader(footage), 2)
    monkeypatch.setattr("offnormal.data.video_loader.read_clips", None)  # decoding would fail
    again = embedding(tmp_path)
    second, _ = again.embed(loader(footage), 2)
    assert again.computed == again.detector.embedded == 0
    assert again.cached == len(first)
    assert second.samples == first.samples
    for a, b in zip(first.loader(7), second.loader(7), strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.frames, b.frames)


def test_only_missing_embeddings_are_computed(footage, tmp_path):
    plain, _ = embedding(tmp_path).embed(loader(footage[:3]), 0)
    more = embedding(tmp_path)
    stored, _ = more.embed(loader(footage), 1)
    assert more.computed == 2 * len(stored) - len(plain)
    (whole,) = list(embedding(tmp_path, store=False).embed(loader(footage), 1)[0].loader(1000))
    (computed,) = list(stored.loader(1000))
    np.testing.assert_allclose(computed.pixels, whole.pixels, rtol=1e-5)
    assert computed.samples == whole.samples


@pytest.mark.parametrize("change", ["content", "spec", "every_s", "detector", "damage"])
def test_embeddings_are_computed_again_after_a_change(footage, tmp_path, change):
    path = tmp_path / "moved.mp4"
    path.write_bytes(footage[0].path.read_bytes())
    moved, spec, every_s = video(path, name="moved"), CLIPS, None
    embedding(tmp_path).embed(loader([moved]), 0)
    if change == "content":
        path.write_bytes(footage[2].path.read_bytes())
    if change == "spec":
        spec = InputSpec(size=(16, 16), frames=3, hop=5, targets=())
    if change == "every_s":
        every_s = 0.7
    if change == "damage":
        for entry in (tmp_path / "kept").iterdir():
            entry.write_bytes(entry.read_bytes()[:-4])
    pass_ = embedding(tmp_path, spec)
    if change == "detector":
        pass_.detector.times.data *= 2
    stored, _ = pass_.embed(loader([moved], spec, every_s=every_s), 0)
    assert pass_.computed == len(stored) > 0
    expected = plain_embeddings(pass_, loader([moved], spec, every_s=every_s))
    (batch,) = list(stored.loader(1000))
    for sample, row in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True):
        torch.testing.assert_close(row, expected[sample.item.path, sample.frame])


@pytest.mark.parametrize("views", [0, 2])
def test_embeddings_beyond_the_size_limit_are_used_all_the_same(footage, tmp_path, views):
    """The second pass finds some embeddings, and those that it computes evict others."""
    plain, _ = embedding(tmp_path, store=False).embed(loader(footage), views)
    for number in range(3):
        pass_ = embedding(tmp_path)
        if number == 1:
            pass_.store.limit = sum(path.stat().st_size for path in pass_.store.folder.iterdir()) // 2
            pass_.store.evict()
        stored, _ = pass_.embed(loader(footage), views)
        assert stored.samples == plain.samples
        for a, b in zip(plain.loader(7), stored.loader(7), strict=True):
            np.testing.assert_allclose(a.pixels, b.pixels, rtol=1e-5)
        assert number != 1 or 0 < pass_.computed < len(plain) * (views + 1)


def test_removal_by_another_program_during_the_pass_is_an_error(footage, tmp_path, monkeypatch):
    embedding(tmp_path).embed(loader(footage), 0)
    pass_ = embedding(tmp_path)
    report = EmbeddingPass._report_cached

    def empty_store(self, *arguments):
        for path in pass_.store.folder.iterdir():
            path.unlink()
        report(self, *arguments)

    monkeypatch.setattr(EmbeddingPass, "_report_cached", empty_store)
    with pytest.raises(DataError, match="were removed during the fit"):
        pass_.embed(loader(footage), 0)


def test_the_embedder_is_hashed_once_per_view_not_per_video(footage, tmp_path):
    pass_, views = embedding(tmp_path), []
    key = pass_.detector.embedding_key
    pass_.detector.embedding_key = lambda view: (views.append(view), key(view))[1]
    pass_.embed(loader(footage), 2)
    assert views == [0, 1, 2]


def test_a_moved_file_is_recognized(footage, tmp_path):
    embedding(tmp_path).embed(loader([footage[0]]), 0)
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(footage[0].path.read_bytes())
    again = embedding(tmp_path)
    again.embed(loader([video(moved, name="other")]), 0)
    assert again.computed == 0


def test_a_video_split_into_stretches_is_embedded_once(footage, tmp_path):
    for store in (True, False):
        pass_ = embedding(tmp_path / str(store), store=store)
        whole = loader([footage[2]], stretches=5)
        groups = whole.groups()
        training, _ = pass_.embed(whole.with_groups(set(groups[:4]), skip_straddling=True), 0)
        held_out, _ = pass_.embed(whole.with_groups(set(groups[4:]), skip_straddling=True), 0)
        assert pass_.computed == len(list(loader([footage[2]]).iter_samples()))
        plain = [sample for sample, _ in whole.with_groups(set(groups[4:]), skip_straddling=True).iter_samples()]
        assert held_out.samples == plain
        assert {sample.group for sample in training.samples} <= set(groups[:4])


def test_views_depend_on_their_clip_and_not_on_its_batch(footage, tmp_path):
    by_batch_size = []
    for batch in (1, 4, 100):
        pass_ = embedding(tmp_path, store=False)
        pass_.batch_size = batch
        (embedded,) = list(pass_.embed(loader(footage), 2)[0].loader(1000))
        by_batch_size.append(torch.from_numpy(embedded.pixels))
    torch.testing.assert_close(by_batch_size[1], by_batch_size[0])
    torch.testing.assert_close(by_batch_size[2], by_batch_size[0])
    rows = by_batch_size[0].unflatten(0, (-1, 3))
    assert (rows[:, 1] - rows[:, 0]).abs().amin() > 0  # no view is the clip
    shifts = (rows[:, 1:] - rows[:, :1]).mean(2)  # from the seeds
    assert len(shifts.mul(1000).round().unique()) > 0.8 * shifts.numel()


def test_an_epoch_draws_one_view_of_each_sample(footage, tmp_path):
    stored, _ = embedding(tmp_path).embed(loader(footage), 2)
    (every,) = list(stored.loader(1000))
    rows = torch.from_numpy(every.pixels).unflatten(0, (-1, 3))
    row_of = {(sample.item.path, sample.frame): number for number, sample in enumerate(stored.samples)}
    drawn = []
    for epoch in range(8):
        for portion in stored.epoch(Order(seed=1, epoch=epoch, batch_size=len(stored))):
            assert len({(s.item.path, s.frame) for s in portion.samples}) == len(stored)
            for sample, row in zip(portion.samples, portion.pixels, strict=True):
                same = (rows[row_of[sample.item.path, sample.frame]] == row).all(1)
                assert same.sum() == 1
                drawn.append(int(same.nonzero()))
    assert all(0.2 < drawn.count(view) / len(drawn) < 0.5 for view in range(3))
    first, second = (next(iter(stored.epoch(Order(seed=1, epoch=3, batch_size=4)))) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)


def test_unreadable_videos_are_skipped_and_listed(footage, tmp_path):
    bad = video(cut(footage[2].path, tmp_path / "cut.mp4", 0.5), name="bad")
    pass_ = embedding(tmp_path)
    stored, skipped = pass_.embed(loader([footage[0], bad, footage[3]], on_error="skip"), 0)
    assert [skip.path for skip in skipped] == [bad.path]
    assert {sample.item.path for sample in stored.samples} == {footage[0].path, footage[3].path}
    with pytest.raises(DataError, match="no normal sample could be read"):
        pass_.embed(loader([bad], on_error="skip"), 0)
    with pytest.raises(DataError, match="too short"):
        pass_.embed(loader([footage[1]]), 0)


def test_images_are_embedded_too(pictures, tmp_path):
    spec = InputSpec(size=(16, 16))
    pass_ = embedding(tmp_path, spec)
    images = ImageLoader(normal_items(pictures), spec, batch_size=7)
    stored, _ = pass_.embed(images, 1)
    assert (len(stored), pass_.computed, stored.frames) == (30, 60, None)
    expected = plain_embeddings(pass_, images)
    (batch,) = list(stored.loader(100))
    for sample, row in list(zip(batch.samples, torch.from_numpy(batch.pixels), strict=True))[::2]:
        torch.testing.assert_close(row, expected[sample.item.path, None])


def test_embeddings_that_do_not_fit_into_memory_are_stored_in_a_file(footage, tmp_path):
    assert isinstance(embedding(tmp_path).embed(loader(footage), 0)[0].rows, RamRows)
    pass_ = embedding(tmp_path)
    pass_.storage.free_bytes = 1000
    stored, _ = pass_.embed(loader(footage), 0)
    assert isinstance(stored.rows, FileRows)
    (plain,) = list(embedding(tmp_path).embed(loader(footage), 0)[0].loader(1000))
    (from_file,) = list(stored.loader(1000))
    assert np.array_equal(from_file.pixels, plain.pixels)
    stored.close()


def test_training_uses_embeddings_first_and_then_pixels(footage, tmp_path):
    pass_ = embedding(tmp_path, stages=(2, 2))
    storage = Storage(cache="ram", folder=tmp_path / "rows")
    sources = []
    for videos in (footage[:3], footage[3:]):
        stored, _ = pass_.embed(loader(videos), 0)
        sources.append(EmbeddingsThenPixels(stored, gather(loader(videos), storage)[0]))
    training, held_out = sources
    pass_.detector.embedded = 0
    per_epoch = len(training) // 4
    settings = TrainSettings(
        seed=0,
        batch_size=4,
        steps=4 * per_epoch,
        steps_per_epoch=per_epoch,
        validate_every=per_epoch,
        validate_on=99,
        fine_tuning=FineTuning(start=2 * per_epoch, validate_every=per_epoch),
    )
    job = Job(
        detector=pass_.detector, training=training, held_out=held_out, settings=settings, run=tmp_path, identity={}
    )
    train(job, CPU)
    assert pass_.detector.steps_over == [2] * 2 * per_epoch + [5] * 2 * per_epoch
    # twice in a validation (input and target)
    assert pass_.detector.embedded == 2 * (4 * per_epoch + 2 * len(held_out))
    assert (
        training.stage_source(fine_tuning=False) is training.embeddings
        and training.stage_source(fine_tuning=True) is training.pixels
    )
