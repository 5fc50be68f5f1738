import re
from itertools import pairwise

import numpy as np
import pytest

from offnormal.drawing.curves import curves, thinned
from offnormal.training.history import History


def history(steps=20, losses=("loss", "content"), high=1.0):
    found = History(best=steps // 2)
    for step in range(1, steps + 1):
        found.steps[step] = {"maker": dict.fromkeys(losses, high / step), "judge": {"loss": 0.5}}
    found.validations = {step: {"loss": 1.0 / step} for step in range(5, steps + 1, 5)}
    return found


def test_one_plot_for_each_optimizer_and_one_for_the_validation():
    drawn = curves(history())
    assert [one.title for one in drawn] == ["maker", "judge", "normals kept back"]
    assert [name for name, _, _ in drawn[0].lines] == ["loss", "content"]
    assert all(one.svg.startswith("<svg") for one in drawn)
    assert "lowest 0.1" in drawn[2].svg
    assert "lowest" not in drawn[0].svg


def test_what_is_told_of_epochs_has_a_plot_of_its_own():
    found = history()
    found.epochs = {10: {"spread": 1.0}, 20: {"spread": 0.8, "dead": 0.1}}
    assert [one.title for one in curves(found)] == ["maker", "judge", "normals kept back", "in each epoch"]
    assert sorted(name for name, _, _ in curves(found)[3].lines) == ["dead", "spread"]


def test_there_is_nothing_to_draw_without_training():
    assert curves(None) == []


def test_every_loss_has_a_line_that_can_be_told_apart():
    drawn = curves(history(losses=("loss", *"abcdef")))[0]
    assert len({line[1:] for line in drawn.lines}) == 7


def test_a_resume_is_marked():
    found = history()
    plain = curves(found)[0].svg
    found.resumed = [7]
    assert curves(found)[0].svg.count("<path") > plain.count("<path")


def test_losses_that_differ_widely_are_drawn_on_a_logarithmic_axis():
    texts = re.findall(r">([0-9.e+-]+)</text>", curves(history(200, high=1000.0))[0].svg)
    assert {"10", "100"} <= set(texts)


def test_a_missing_loss_is_left_out():
    found = history()
    found.steps[4]["maker"]["content"] = None
    assert "nan" not in curves(found)[0].svg.lower()


@pytest.mark.parametrize(("count", "most"), [(1000, 250), (251, 250), (7, 3)])
def test_long_curves_are_thinned_to_means(count, most):
    rng = np.random.default_rng(0)
    steps, losses = np.arange(1.0, count + 1), rng.random(count)
    x, y = thinned(steps, losses, most)
    assert len(x) == len(y) == most
    cuts = [i * count // most for i in range(most + 1)]
    np.testing.assert_allclose(y, [losses[a:b].mean() for a, b in pairwise(cuts)])
    np.testing.assert_allclose(x, [steps[a:b].mean() for a, b in pairwise(cuts)])
    assert thinned(steps[:3], losses[:3], 3)[1].tolist() == losses[:3].tolist()
