import numpy as np
import pytest
import torch

from offnormal.data import video_reading
from offnormal.data.loader import Batch
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import ConfigError
from offnormal.scoring import Scorer, score_videos
from offnormal.scoring.alignment import EARLY, GAP, NEVER
from offnormal.scoring.videos import _Highest
from offnormal.types import InputSpec, Output, Sample
from tests.data.film import SIZE, Cinema


class Brightness(torch.nn.Module):
    """Scores each target by its value, 0-255; a whole clip by the mean of its values."""

    def __init__(self, spec):
        super().__init__()
        self.input = spec
        self.calls = 0

    def require_fitted(self):
        pass

    def forward(self, x):
        self.calls += 1
        frames = x[:, 0] if x.ndim == 5 else x[:, :1, 0]  # (N, T, H, W)
        frames = frames.flatten(2).mean(2) * 255 if x.ndim == 5 else x[:, 0].flatten(1).mean(1, keepdim=True) * 255
        targets = list(self.input.targets)
        score = frames[:, targets] if targets else frames.mean(1, keepdim=True)
        maps = score[:, :, None, None].expand(-1, -1, *SIZE) if targets else None
        return Output(score=score, map=maps, parts={"twice": score * 2})


@pytest.fixture
def cinema(tmp_path, monkeypatch):
    made = Cinema(tmp_path)
    monkeypatch.setattr(video_reading, "open_video", made.open_video)
    return made


def spec(**more):
    return InputSpec(size=SIZE, **{"frames": 3, **more})


def scored(videos, spec, batch_size=4, loader=None, **more):
    loading = {"batch_size": batch_size, "on_bad": "skip", **(loader or {})}
    return list(score_videos(Scorer(Brightness(spec)), VideoLoader(videos, spec, **loading), **more))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_frame_has_its_score_or_a_reason_whatever_the_size_of_a_batch(cinema, batch_size):
    videos = [
        cinema.film("a", lost=(6,)),
        cinema.film("b", count=2, base=50),
        cinema.film("c", unreadable=True),
        cinema.film("d", count=4, base=90),
    ]
    found = scored(videos, spec(), batch_size)
    assert [one.ended.video.name for one in found] == ["a", "b", "d"]
    a, b, d = (one.aligned for one in found)
    np.testing.assert_allclose(a.score, [np.nan, np.nan, 2, 3, 4, 5, np.nan, np.nan, np.nan, 9], atol=1e-4)
    assert [tuple(span) for span in a.reasons] == [(0, 2, EARLY), (6, 9, GAP)]
    assert [tuple(span) for span in b.reasons] == [(0, 2, NEVER)]
    np.testing.assert_allclose(d.score[2:], [92, 93], atol=1e-4)
    np.testing.assert_allclose(found[2].parts["twice"], d.score * 2, atol=1e-4)


def test_several_targets_and_whole_clips_cover_more_frames(cinema):
    video = cinema.film("a", count=5)
    (one,) = scored([video], spec(targets=(0, 1, 2)))
    np.testing.assert_allclose(one.aligned.score, range(5), atol=1e-4)
    (one,) = scored([video], spec(targets=()))
    np.testing.assert_allclose(one.aligned.score, [1, 1.5, 2, 2.5, 3], atol=1e-4)
    (one,) = scored([video], spec(targets=(), sampling="uniform"))
    np.testing.assert_allclose(one.aligned.score, [2] * 5, atol=1e-4)


def test_pictures_of_a_video_and_held_scores(cinema):
    video = cinema.film("a", count=5)
    (one,) = scored([video], InputSpec(size=SIZE))
    np.testing.assert_allclose(one.aligned.score, range(5), atol=1e-4)
    (one,) = scored([video], InputSpec(size=SIZE, hop=2), hold=True)
    np.testing.assert_allclose(one.aligned.score, [0, 0, 2, 2, 4], atol=1e-4)
    assert len(one.aligned.reasons) == 2
    (one,) = scored([cinema.film("b", count=50)], InputSpec(size=SIZE), loader={"every_s": 1.0})
    assert [tuple(span) for span in one.aligned.reasons] == [(1, 25, "between windows")]


def test_a_video_is_given_before_the_next_ones_are_read_to_their_end(cinema):
    videos = [cinema.film(name, count=400) for name in "ab"]
    detector = Brightness(spec())
    given = score_videos(Scorer(detector), VideoLoader(videos, spec(), batch_size=4))
    assert next(given).ended.video.name == "a"
    assert detector.calls <= 101
    given.close()


def test_the_highest_frames_keep_their_maps(cinema):
    (one,) = scored([cinema.film("a", count=20)], spec(), peaks=3)
    assert [peak.frame for peak in one.peaks] == [19, 18, 17]
    assert all(peak.map.shape == SIZE and peak.map[0, 0] == pytest.approx(peak.score) for peak in one.peaks)
    (one,) = scored([cinema.film("b", count=20)], spec(targets=(0, 2)), peaks=2)
    assert [(peak.frame, round(peak.score)) for peak in one.peaks] == [(19, 19), (18, 18)]
    (one,) = scored([cinema.film("c", count=20)], spec(targets=()), peaks=1)
    assert one.peaks[0].map is None


def test_the_highest_frames_may_have_to_lie_apart(cinema):
    (one,) = scored([cinema.film("a", count=20, base=250)], spec(), peaks=3, apart=4)  # 255, then from 0 again
    frames = [peak.frame for peak in one.peaks]
    assert frames[0] == 5
    assert all(abs(a - b) >= 4 for a in frames for b in frames if a != b)


def test_every_batch_is_shown_with_its_maps(cinema):
    seen = []
    scored([cinema.film("a")], spec(), each=lambda one: seen.append((len(one.samples), one.scores.map.shape)))
    assert seen == [(4, (4, *SIZE)), (4, (4, *SIZE))]


def test_batches_of_pictures_are_refused():
    class Pictures(list):
        ended = ()

    batch = Batch(torch.zeros(1, 3, *SIZE), [Sample(path=None)], None)
    with pytest.raises(ConfigError, match="takes those of a VideoLoader"):
        list(score_videos(Scorer(Brightness(InputSpec(size=SIZE))), Pictures([batch])))


def test_of_equal_frames_close_to_each_other_the_first_is_kept():
    highest = _Highest(2, apart=2)
    for frame, score in ((0, 5.0), (1, 5.0), (2, 5.0)):
        highest.offer(frame, score, None)
    assert [peak.frame for peak in highest.kept] == [0, 2]
