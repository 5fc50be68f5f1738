import pytest

from offnormal.config.fit import FitConfig
from offnormal.config.layers import build
from offnormal.config.model import Flattened, find_mark, nested_model, set_values
from offnormal.config.rules import AlarmConfig, RulesConfig
from offnormal.errors import ConfigError
from offnormal.verbs.fit import fit_config


class Some(FitConfig):
    rules: RulesConfig = RulesConfig()


def test_set_values_are_only_those_that_were_set():
    assert set_values(None) == {}
    config = Some(batch_size=16, rules=RulesConfig(merge_gap="5s"))
    assert set_values(config) == {"batch_size": 16, "rules": {"merge_gap": 5.0}}, "also where they are the defaults"


def test_a_model_is_found_in_options_and_lists():
    assert nested_model(RulesConfig) is RulesConfig
    assert nested_model(list[RulesConfig]) is nested_model(RulesConfig | None) is RulesConfig
    assert nested_model(int | None) is None


def test_marks_are_found_by_their_kind():
    assert find_mark(AlarmConfig.model_fields["rules"], Flattened) == Flattened("--rules")
    assert find_mark(FitConfig.model_fields["size"], Flattened) is None


def test_docstrings_of_fields_are_their_descriptions():
    assert FitConfig.model_fields["resize"].description.startswith("How images are resized; median_aspect")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 10**30}, "seed: expected an integer of at most 2,147,483,647"),
        ({"seed": -(10**30)}, "seed: expected an integer"),
        ({"split_seed": 2**31}, "split_seed: expected an integer"),
        ({"batch_size": 10**12}, "batch_size: expected an integer"),
        ({"workers": 10**6}, "workers: .* less than or equal to 256"),
    ],
)
def test_integers_beyond_those_of_the_machine_are_refused(values, message):
    name = next(iter(values))
    model = fit_config("pixel_gaussian")
    with pytest.raises(ConfigError, match=message):
        build(model, {"detector": values} if name == "seed" else values, environment={})
