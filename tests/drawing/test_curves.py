import re
from itertools import pairwise

import numpy as np
import pytest

from offnormal.drawing.curves import average_points, curves
from offnormal.training.history import History


def history(steps=20, losses=("loss", "content"), high=1.0):
    training_history = History(best=steps // 2)
    for step in range(1, steps + 1):
        training_history.steps[step] = {"maker": dict.fromkeys(losses, high / step), "judge": {"loss": 0.5}}
    training_history.validations = {step: {"loss": 1.0 / step} for step in range(5, steps + 1, 5)}
    return training_history


def test_each_optimizer_and_the_validation_has_a_plot():
    plots = curves(history())
    assert [plot.title for plot in plots] == ["maker", "judge", "held-out normals"]
    assert [name for name, _, _ in plots[0].lines] == ["loss", "content"]
    assert all(plot.svg.startswith("<svg") for plot in plots)
    assert "lowest 0.1" in plots[2].svg
    assert "lowest" not in plots[0].svg


def test_values_per_epoch_have_their_own_plot():
    training_history = history()
    training_history.epochs = {10: {"spread": 1.0}, 20: {"spread": 0.8, "dead": 0.1}}
    assert [plot.title for plot in curves(training_history)] == ["maker", "judge", "held-out normals", "per epoch"]
    assert sorted(name for name, _, _ in curves(training_history)[3].lines) == ["dead", "spread"]


def test_without_a_history_nothing_is_drawn():
    assert curves(None) == []


def test_every_loss_has_a_distinct_line():
    plots = curves(history(losses=("loss", *"abcdef")))[0]
    assert len({line[1:] for line in plots.lines}) == 7


def test_a_resume_is_marked():
    training_history = history()
    plain = curves(training_history)[0].svg
    training_history.resumed = [7]
    assert curves(training_history)[0].svg.count("<path") > plain.count("<path")


def test_widely_different_losses_get_a_logarithmic_axis():
    texts = re.findall(r">([0-9.e+-]+)</text>", curves(history(200, high=1000.0))[0].svg)
    assert {"10", "100"} <= set(texts)


def test_a_missing_loss_is_skipped():
    training_history = history()
    training_history.steps[4]["maker"]["content"] = None
    assert "nan" not in curves(training_history)[0].svg.lower()


@pytest.mark.parametrize(("count", "max_points"), [(1000, 250), (251, 250), (7, 3)])
def test_long_curves_are_averaged(count, max_points):
    rng = np.random.default_rng(0)
    steps, losses = np.arange(1.0, count + 1), rng.random(count)
    x, y = average_points(steps, losses, max_points)
    assert len(x) == len(y) == max_points
    cuts = [i * count // max_points for i in range(max_points + 1)]
    np.testing.assert_allclose(y, [losses[a:b].mean() for a, b in pairwise(cuts)])
    np.testing.assert_allclose(x, [steps[a:b].mean() for a, b in pairwise(cuts)])
    assert average_points(steps[:3], losses[:3], 3)[1].tolist() == losses[:3].tolist()
