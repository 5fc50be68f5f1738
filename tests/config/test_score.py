import pytest

from offnormal.config.data import DataConfig
from offnormal.config.fit import FitConfig
from offnormal.config.layers import build
from offnormal.config.rules import RulesConfig
from offnormal.config.score import CalibrateConfig, CompareConfig, EvaluateConfig, PredictConfig
from offnormal.errors import ConfigError
from offnormal.watching.config import WatchConfig


@pytest.mark.parametrize("model", [DataConfig, FitConfig, CalibrateConfig, EvaluateConfig, PredictConfig])
def test_every_verb_refuses_unknown_keys_and_cannot_be_changed_afterwards(model):
    with pytest.raises(ConfigError, match="unknown key 'nonsense'"):
        build(model, {"nonsense": 1}, environment={})
    with pytest.raises(ValueError, match="frozen"):
        build(model, {}, environment={}).data = 1


def test_thresholds_are_finite_numbers():
    assert build(PredictConfig, {"threshold": "3.5"}, environment={}).threshold == 3.5
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="threshold: Input should be a finite number"):
            build(PredictConfig, {"threshold": wrong}, environment={})


@pytest.mark.parametrize("model", [CalibrateConfig, CompareConfig, EvaluateConfig, PredictConfig])
def test_every_verb_that_counts_alarms_has_the_rules_of_watch(model):
    watched = build(WatchConfig, {"cameras": [{"source": "a.mp4"}]}, environment={})
    assert build(model, {}, environment={}).rules == watched.rules == RulesConfig()
