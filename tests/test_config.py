import pytest

from offnormal.config import CalibrateConfig, DataConfig, EvaluateConfig, FitConfig, PredictConfig
from offnormal.config_layers import build
from offnormal.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (None, None),
        (256, 256),
        ("256", 256),
        ("256x320", (256, 320)),
        ("256X320", (256, 320)),
        (" 256 x 320 ", (256, 320)),
        ([256, 320], (256, 320)),
        ((256, 320), (256, 320)),
        ([256], 256),
    ],
)
def test_forms_of_a_size(size, sides):
    assert build(FitConfig, {"size": size}, environment={}).sides == sides


@pytest.mark.parametrize("size", [15, "8x256", "256x", "x256", "1x2x3", [1, 2, 3], [], "2.5", -256, True, "256px"])
def test_what_is_no_size(size):
    with pytest.raises(ConfigError, match="expected N or HxW in pixels"):
        build(FitConfig, {"size": size}, environment={})


@pytest.mark.parametrize(("text", "rate"), [("rate: 0.01", "0.01"), ("rate: 1%", "1%"), ("rate: '1%'", "1%")])
def test_a_rate_in_a_file_may_be_a_number(tmp_path, text, rate):
    (tmp_path / "config.yaml").write_text(text)
    assert build(CalibrateConfig, {}, file=tmp_path / "config.yaml", environment={}).rate == rate


def test_thresholds_are_numbers():
    assert build(PredictConfig, {"threshold": "3.5"}, environment={}).threshold == 3.5
    with pytest.raises(ConfigError, match="threshold: a threshold must be a finite number"):
        build(PredictConfig, {"threshold": float("nan")}, environment={})
    with pytest.raises(ConfigError, match="finite"):
        build(PredictConfig, {"threshold": float("inf")}, environment={})


@pytest.mark.parametrize("model", [DataConfig, FitConfig, CalibrateConfig, EvaluateConfig, PredictConfig])
def test_every_verb_refuses_unknown_keys_and_cannot_be_changed_afterwards(model):
    with pytest.raises(ConfigError, match="unknown key 'nonsense'"):
        build(model, {"nonsense": 1}, environment={})
    with pytest.raises(ValueError, match="frozen"):
        build(model, {}, environment={}).data = 1


@pytest.mark.parametrize("text", ["0s", "fast", "-1s", "5 d", ""])
def test_times_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="such as 5s, 500ms or 2min"):
        build(FitConfig, {"every": text}, environment={})


def test_times_are_read_with_their_units():
    assert build(FitConfig, {"every": "5 S"}, environment={}).every_s == 5
    assert build(FitConfig, {"every": 0.2}, environment={}).every_s == 0.2
    assert build(FitConfig, {}, environment={}).every_s is None


def test_parts_are_three_shares_of_a_hundred():
    assert build(EvaluateConfig, {"parts": "60/30/10"}, environment={}).shares == (60, 30, 10)
    assert build(EvaluateConfig, {"parts": [34, 33, 33]}, environment={}).shares == (34, 33, 33)
    for wrong in ("50/40", "50/50/0", "50/40/20", "a/b/c"):
        with pytest.raises(ConfigError, match="50/40/10"):
            build(EvaluateConfig, {"parts": wrong}, environment={})
