"""Samples as embeddings: what is computed, what is kept, and what a training is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import DataError
from offnormal.training.embedded import EmbeddedAtFirst, EmbeddingPass
from offnormal.training.embedding_store import EmbeddingStore
from offnormal.training.gather import Room, gather
from offnormal.training.loop import Job, train
from offnormal.training.rows import FileRows, RamRows
from offnormal.training.samples import Order
from offnormal.training.settings import Late, TrainSettings
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
    kept = EmbeddingStore(tmp_path / "kept", 1 << 24) if store else None
    room = Room(cache=cache, folder=tmp_path / "rows")
    return EmbeddingPass(detector=detector, device=CPU, batch_size=4, room=room, store=kept)


def loader(videos, spec=CLIPS, **more):
    return VideoLoader(videos, spec, batch_size=3, **more)


def known(pass_, given):
    """Embeddings of each sample, by (path, frame), as a plain pass over the pixels gives them."""
    with torch.no_grad():
        return {
            (sample.item.path, sample.frame): pass_.detector.embed(pixels[None])[0]
            for batch in given
            for sample, pixels in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True)
        }


@pytest.mark.parametrize("cache", ["ram", "disk", "off"])
@pytest.mark.parametrize("spec", [CLIPS, WHOLE, InputSpec(size=(16, 16), hop=5)])
def test_every_sample_is_embedded_once_in_order(footage, tmp_path, spec, cache):
    pass_ = embedding(tmp_path, spec, cache=cache)
    kept, skipped = pass_.embed(loader(footage, spec), 0)
    (plain,) = list(VideoLoader(footage, spec, batch_size=1000))
    assert skipped == []
    assert pass_.computed == len(kept) == len(plain.samples)
    assert kept.samples == plain.samples
    assert {sample.item.class_name for sample in kept.samples} <= {"act 0", "act 1", "act 2", "act 3"}
    (batch,) = list(kept.loader(1000))
    assert np.array_equal(batch.frames, plain.frames)
    expected = known(pass_, [plain])
    for sample, row in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True):
        torch.testing.assert_close(row, expected[sample.item.path, sample.frame])


def test_a_second_fit_finds_them_and_decodes_nothing(footage, tmp_path, monkeypatch):
    first, _ = embedding(tmp_path).embed(loader(footage), 2)
    monkeypatch.setattr("offnormal.data.video_loader.read_clips", None)  # whoever decodes fails
    again = embedding(tmp_path)
    second, _ = again.embed(loader(footage), 2)
    assert again.computed == again.detector.embedded == 0
    assert again.found == len(first)
    assert second.samples == first.samples
    for a, b in zip(first.loader(7), second.loader(7), strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.frames, b.frames)


def test_only_what_is_missing_is_computed(footage, tmp_path):
    plain, _ = embedding(tmp_path).embed(loader(footage[:3]), 0)
    more = embedding(tmp_path)
    kept, _ = more.embed(loader(footage), 1)
    assert more.computed == 2 * len(kept) - len(plain)
    (whole,) = list(embedding(tmp_path, store=False).embed(loader(footage), 1)[0].loader(1000))
    (found,) = list(kept.loader(1000))
    np.testing.assert_allclose(found.pixels, whole.pixels, rtol=1e-5)
    assert found.samples == whole.samples


@pytest.mark.parametrize("change", ["content", "spec", "every_s", "detector", "damage"])
def test_what_has_changed_is_computed_anew(footage, tmp_path, change):
    place = tmp_path / "moved.mp4"
    place.write_bytes(footage[0].path.read_bytes())
    moved, spec, every_s = video(place, name="moved"), CLIPS, None
    embedding(tmp_path).embed(loader([moved]), 0)
    if change == "content":
        place.write_bytes(footage[2].path.read_bytes())
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
    kept, _ = pass_.embed(loader([moved], spec, every_s=every_s), 0)
    assert pass_.computed == len(kept) > 0
    expected = known(pass_, loader([moved], spec, every_s=every_s))
    (batch,) = list(kept.loader(1000))
    for sample, row in zip(batch.samples, torch.from_numpy(batch.pixels), strict=True):
        torch.testing.assert_close(row, expected[sample.item.path, sample.frame])


@pytest.mark.parametrize("views", [0, 2])
def test_more_than_may_be_kept_is_embedded_all_the_same(footage, tmp_path, views):
    """The second pass finds some, and what it computes drives others out."""
    plain, _ = embedding(tmp_path, store=False).embed(loader(footage), views)
    for number in range(3):
        pass_ = embedding(tmp_path)
        if number == 1:
            pass_.store.limit = sum(path.stat().st_size for path in pass_.store.folder.iterdir()) // 2
            pass_.store.tidy()
        kept, _ = pass_.embed(loader(footage), views)
        assert kept.samples == plain.samples
        for a, b in zip(plain.loader(7), kept.loader(7), strict=True):
            np.testing.assert_allclose(a.pixels, b.pixels, rtol=1e-5)
        assert number != 1 or 0 < pass_.computed < len(plain) * (views + 1)


def test_what_another_program_removes_meanwhile_is_told(footage, tmp_path, monkeypatch):
    embedding(tmp_path).embed(loader(footage), 0)
    pass_ = embedding(tmp_path)
    told = EmbeddingPass._told

    def emptied(self, *given):
        for path in pass_.store.folder.iterdir():
            path.unlink()
        told(self, *given)

    monkeypatch.setattr(EmbeddingPass, "_told", emptied)
    with pytest.raises(DataError, match="were removed while they were being read"):
        pass_.embed(loader(footage), 0)


def test_the_embedder_is_looked_at_once_a_view_and_not_once_a_video(footage, tmp_path):
    pass_, asked = embedding(tmp_path), []
    key = pass_.detector.embedding_key
    pass_.detector.embedding_key = lambda view: (asked.append(view), key(view))[1]
    pass_.embed(loader(footage), 2)
    assert asked == [0, 1, 2]


def test_a_file_may_move(footage, tmp_path):
    embedding(tmp_path).embed(loader([footage[0]]), 0)
    moved = tmp_path / "elsewhere.mp4"
    moved.write_bytes(footage[0].path.read_bytes())
    again = embedding(tmp_path)
    again.embed(loader([video(moved, name="other")]), 0)
    assert again.computed == 0


def test_a_video_cut_into_stretches_is_embedded_once(footage, tmp_path):
    for store in (True, False):
        pass_ = embedding(tmp_path / str(store), store=store)
        whole = loader([footage[2]], stretches=5)
        groups = whole.groups()
        learn, _ = pass_.embed(whole.with_groups(set(groups[:4]), skip_straddling=True), 0)
        held, _ = pass_.embed(whole.with_groups(set(groups[4:]), skip_straddling=True), 0)
        assert pass_.computed == len(list(loader([footage[2]]).iter_samples()))
        plain = [sample for sample, _ in whole.with_groups(set(groups[4:]), skip_straddling=True).iter_samples()]
        assert held.samples == plain
        assert {sample.group for sample in learn.samples} <= set(groups[:4])


def test_views_belong_to_their_clip_and_not_to_its_batch(footage, tmp_path):
    found = []
    for batch in (1, 4, 100):
        pass_ = embedding(tmp_path, store=False)
        pass_.batch_size = batch
        (given,) = list(pass_.embed(loader(footage), 2)[0].loader(1000))
        found.append(torch.from_numpy(given.pixels))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    rows = found[0].unflatten(0, (-1, 3))
    assert (rows[:, 1] - rows[:, 0]).abs().amin() > 0  # no view is the clip
    shifts = (rows[:, 1:] - rows[:, :1]).mean(2)  # what the seeds gave
    assert len(shifts.mul(1000).round().unique()) > 0.8 * shifts.numel()


def test_an_epoch_takes_each_sample_in_one_of_its_views(footage, tmp_path):
    kept, _ = embedding(tmp_path).embed(loader(footage), 2)
    (every,) = list(kept.loader(1000))
    rows = torch.from_numpy(every.pixels).unflatten(0, (-1, 3))
    place = {(sample.item.path, sample.frame): number for number, sample in enumerate(kept.samples)}
    taken = []
    for epoch in range(8):
        for portion in kept.epoch(Order(seed=1, epoch=epoch, batch_size=len(kept))):
            assert len({(s.item.path, s.frame) for s in portion.samples}) == len(kept)
            for sample, row in zip(portion.samples, portion.pixels, strict=True):
                same = (rows[place[sample.item.path, sample.frame]] == row).all(1)
                assert same.sum() == 1
                taken.append(int(same.nonzero()))
    assert all(0.2 < taken.count(view) / len(taken) < 0.5 for view in range(3))
    one, two = (next(iter(kept.epoch(Order(seed=1, epoch=3, batch_size=4)))) for _ in range(2))
    assert torch.equal(one.pixels, two.pixels)


def test_bad_videos_are_left_out_and_named(footage, tmp_path):
    bad = video(cut(footage[2].path, tmp_path / "cut.mp4", 0.5), name="bad")
    pass_ = embedding(tmp_path)
    kept, skipped = pass_.embed(loader([footage[0], bad, footage[3]], on_error="skip"), 0)
    assert [one.path for one in skipped] == [bad.path]
    assert {sample.item.path for sample in kept.samples} == {footage[0].path, footage[3].path}
    with pytest.raises(DataError, match="none of the normal samples"):
        pass_.embed(loader([bad], on_error="skip"), 0)
    with pytest.raises(DataError, match="too short"):
        pass_.embed(loader([footage[1]]), 0)


def test_pictures_are_embedded_as_well(pictures, tmp_path):
    spec = InputSpec(size=(16, 16))
    pass_ = embedding(tmp_path, spec)
    given = ImageLoader(normal_items(pictures), spec, batch_size=7)
    kept, _ = pass_.embed(given, 1)
    assert (len(kept), pass_.computed, kept.frames) == (30, 60, None)
    expected = known(pass_, given)
    (batch,) = list(kept.loader(100))
    for sample, row in list(zip(batch.samples, torch.from_numpy(batch.pixels), strict=True))[::2]:
        torch.testing.assert_close(row, expected[sample.item.path, None])


def test_what_does_not_fit_into_memory_lies_in_a_file(footage, tmp_path):
    assert isinstance(embedding(tmp_path).embed(loader(footage), 0)[0].rows, RamRows)
    pass_ = embedding(tmp_path)
    pass_.room.left = 1000
    kept, _ = pass_.embed(loader(footage), 0)
    assert isinstance(kept.rows, FileRows)
    (plain,) = list(embedding(tmp_path).embed(loader(footage), 0)[0].loader(1000))
    (found,) = list(kept.loader(1000))
    assert np.array_equal(found.pixels, plain.pixels)
    kept.close()


def test_a_training_is_over_embeddings_and_then_over_pixels(footage, tmp_path):
    pass_ = embedding(tmp_path, stages=(2, 2))
    room = Room(cache="ram", folder=tmp_path / "rows")
    sources = []
    for part in (footage[:3], footage[3:]):
        kept, _ = pass_.embed(loader(part), 0)
        sources.append(EmbeddedAtFirst(kept, gather(loader(part), room)[0]))
    learn, held = sources
    pass_.detector.embedded = 0
    per_epoch = len(learn) // 4
    settings = TrainSettings(
        seed=0,
        batch_size=4,
        steps=4 * per_epoch,
        steps_per_epoch=per_epoch,
        validate_every=per_epoch,
        validate_on=99,
        late=Late(step=2 * per_epoch, validate_every=per_epoch),
    )
    job = Job(detector=pass_.detector, learn=learn, held=held, settings=settings, run=tmp_path, identity={})
    train(job, CPU)
    assert pass_.detector.steps_over == [2] * 2 * per_epoch + [5] * 2 * per_epoch
    # twice in a validation (what is rebuilt, and what is to be)
    assert pass_.detector.embedded == 2 * (4 * per_epoch + 2 * len(held))
    assert learn.during(late=False) is learn.embeddings and learn.during(late=True) is learn.pixels
