from dataclasses import replace

import numpy as np
import pytest
import torch

from offnormal.bundle import load
from offnormal.data.batches import Batch
from offnormal.errors import ConfigError, FitError, NotFittedError, OffnormalError
from offnormal.scoring import Scorer, choose_device, concatenate, map_peaks, to_scores
from offnormal.scoring.scorer import explain_memory_error
from offnormal.types import Output, Scores
from tests.detectors.parts.test_stream_states import Counting
from tests.items import sample


def test_outputs_become_numpy_rows():
    output = Output(
        score=torch.tensor([[1.0], [2.0]]), map=torch.rand(2, 1, 3, 4), terms={"a": torch.tensor([[3.0], [4.0]])}
    )
    scores = to_scores(output)
    assert scores.score.dtype == np.float32
    assert scores.score.tolist() == [1, 2]
    assert scores.map.shape == (2, 3, 4)
    assert scores.terms["a"].tolist() == [3, 4]
    assert to_scores(Output(score=torch.ones(2, 1), map=None)).map is None


def test_the_scores_of_a_clip_are_consecutive_rows():
    score, maps = torch.arange(6.0).reshape(2, 3), torch.rand(2, 3, 4, 5)
    scores = to_scores(Output(score=score, map=maps, terms={"a": score * 2}))
    assert scores.score.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(scores.map[4], maps[1, 1])
    assert scores.terms["a"].tolist() == [0, 2, 4, 6, 8, 10]


def test_pieces_are_concatenated_in_order():
    a = Scores(np.array([1.0]), np.ones((1, 2, 2)), {"p": np.array([5.0])})
    b = Scores(np.array([2.0, 3.0]), np.zeros((2, 2, 2)), {"p": np.array([6.0, 7.0])})
    joined = concatenate(iter([a, b]))
    assert joined.score.tolist() == [1, 2, 3]
    assert joined.map.shape == (3, 2, 2)
    assert joined.terms["p"].tolist() == [5, 6, 7]
    assert len(concatenate([])) == 0


def test_the_peak_is_the_maximum_of_the_map_or_the_score():
    maps = np.zeros((2, 3, 3))
    maps[1, 2, 1] = 8
    assert map_peaks(Scores(np.array([1.0, 2.0]), maps)).tolist() == [0, 8]
    assert map_peaks(Scores(np.array([1.0, 2.0]), None)).tolist() == [1, 2]


def test_more_threads_than_the_machine_can_start_are_not_started(caplog, monkeypatch):
    monkeypatch.setattr("offnormal.scoring.scorer.os.cpu_count", lambda: 96)
    before = torch.get_num_threads()
    try:
        choose_device("cpu", 10**6)
        assert torch.get_num_threads() == 96
    finally:
        torch.set_num_threads(before)
    assert "threads: 1000000 set, 96 used: this machine has 96 cores" in caplog.text


def test_devices_are_chosen_and_checked():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="expected auto"):
        choose_device("quantum")
    with pytest.raises(ConfigError, match="expected auto"):
        choose_device("meta")
    with pytest.raises(ConfigError, match="CUDA devices"):
        choose_device("cuda:99")


def test_pixels_of_another_size_are_rejected(fitted):
    scorer = Scorer(load(fitted).detector)
    with pytest.raises(ConfigError, match=r"\(N, 3, 64, 64\)"):
        scorer.score(torch.zeros(1, 3, 32, 32))


def test_the_frames_axis_of_clips_comes_before_height_and_width(fitted):
    scorer = Scorer(load(fitted).detector)
    scorer.detector.input = replace(scorer.detector.input, frames=5)
    for shape in ((2, 3, 64, 64), (2, 5, 3, 64, 64)):
        with pytest.raises(ConfigError, match=r"\(N, 3, 5, 64, 64\)"):
            scorer.score(torch.zeros(shape))


def test_a_batch_that_does_not_fit_into_memory_gives_advice(fitted, monkeypatch):
    scorer = Scorer(load(fitted).detector)

    def full(_x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scorer.detector, "forward", full)
    with pytest.raises(OffnormalError, match="--batch-size"):
        scorer.score(torch.zeros(4, 3, 64, 64))


def test_scores_that_are_not_finite_are_an_error(fitted, monkeypatch):
    scorer = Scorer(load(fitted).detector)
    monkeypatch.setattr(
        scorer.detector, "forward", lambda x: Output(score=torch.full((len(x), 1), torch.nan), map=None)
    )
    with pytest.raises(OffnormalError, match="2 of 2 scores are not finite"):
        scorer.score(torch.zeros(2, 3, 64, 64))


def test_detectors_that_are_not_fitted_are_rejected(fitted):
    with pytest.raises(NotFittedError):
        Scorer(load(fitted).detector.blank())


def test_a_detector_with_online_updates_scores_each_video_in_order_from_its_start():
    scorer = Scorer(Counting())
    batches = [
        Batch(np.ones((len(names), 3, 2, 2), np.float32), [sample(name) for name in names], None)
        for names in ("aa", "ab")
    ]
    for _ in range(2):
        assert [scored.scores.score.tolist() for scored in scorer.score_batches(batches)] == [[0, 1], [2, 0]]
    assert scorer.score(torch.rand(2, 3, 2, 2)).score.tolist() == [0, 0]
    carrying = Scorer(Counting(carries_over=True))
    twice = [scored.scores.score.tolist() for _ in range(2) for scored in carrying.score_batches(batches)]
    assert twice[2:] == [[4, 5], [6, 7]]


def test_scores_do_not_share_memory_with_torch():
    ones = torch.ones(2, 1)
    scores = to_scores(Output(ones, map=None, terms={"error": ones}, recalled=torch.ones(2, 5)))
    assert all(array.base is None for array in (scores.score, scores.terms["error"], scores.recalled))


def test_recalled_memory_shares_have_one_row_per_clip(fitted, monkeypatch):
    scorer = Scorer(load(fitted).detector)
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    monkeypatch.setattr(
        scorer.detector, "forward", lambda x: Output(torch.zeros(len(x), 3), map=None, recalled=shares[: len(x)])
    )
    results = [scorer.score(torch.zeros(count, 3, 64, 64)) for count in (2, 1)]
    assert results[0].recalled.tolist() == shares.tolist()
    assert len(results[0]) == 6
    assert concatenate(results).recalled.shape == (3, 2)


def test_out_of_memory_errors_of_torch_become_errors_with_advice():
    expected = "a batch does not fit into the memory of this machine: lower it"
    with pytest.raises(OffnormalError, match=expected), explain_memory_error("a batch", "lower it"):
        torch.empty(1 << 50)
    with pytest.raises(FitError, match="into GPU memory"), explain_memory_error("a batch", "lower it", FitError):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_errors_are_not_converted():
    with pytest.raises(RuntimeError, match="shape"), explain_memory_error("a batch", "lower it"):
        raise RuntimeError("shape mismatch")
