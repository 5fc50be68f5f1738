import pytest

from offnormal.config.layers import build
from offnormal.config.rules import AlarmConfig, RulesConfig
from offnormal.errors import ConfigError
from offnormal.events.machine import EventRules


def rules(values=None, *, file=None, environment=None):
    return build(
        AlarmConfig, {} if values is None else {"rules": values}, file=file, environment=environment or {}
    ).rules


def written(path, text):
    path.write_text(text)
    return path


def test_rules_are_seconds_in_any_notation():
    result = rules({"min_duration": "500ms", "merge_gap": 2, "cool_down": "1m", "max_duration": "1h", "max_gap": "10s"})
    assert result == RulesConfig(min_duration=0.5, merge_gap=2.0, cool_down=60.0, max_duration=3600.0, max_gap=10.0)


def test_event_rules_match_the_configuration():
    assert EventRules.from_config(RulesConfig()) == EventRules()
    result = EventRules.from_config(
        rules(
            {"min_duration": "2s", "merge_gap": 0, "cool_down": 9, "max_duration": "1h", "max_gap": 4}
            | {"incident_gap": "5m", "renew": "1h"}
        )
    )
    assert result.model_dump() == {
        "min_duration_s": 2,
        "merge_gap_s": 0,
        "cool_down_s": 9,
        "max_duration_s": 3600,
        "max_gap_s": 4,
        "incident_gap_s": 300,
        "renew_s": 3600,
    }


def test_an_alarm_must_be_allowed_to_last_longer_than_it_takes_to_open():
    for wrong in ({"min_duration": "5s", "max_duration": "5s"}, {"min_duration": "1h"}):
        with pytest.raises(ConfigError, match=r"max_duration .*s is not longer than min_duration"):
            rules(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"merge_gap": "soon"}, "rules.merge_gap: expected a duration such as 5s, 500ms, 10m, or 2h (got 'soon')"),
        ({"max_gap": 0}, "rules.max_gap: expected a duration above 0"),
        ({"hysteresis": 1}, "rules.hysteresis: Input should be less than 1"),
        ({"merge_gap_s": 2}, "unknown key 'rules.merge_gap_s': did you mean 'merge_gap'?"),
    ],
)
def test_invalid_rules_are_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        rules(wrong)
    assert message in str(error.value)


def test_a_file_of_rules_gives_way_to_single_ones_of_its_layer_and_to_later_layers(tmp_path):
    mine = written(tmp_path / "mine.yaml", "{merge_gap: 2s, cool_down: 3s, max_gap: 9s}")
    config = written(tmp_path / "config.yaml", "rules: {min_duration: 4s, merge_gap: 7s, max_duration: 1m}")
    result = rules({"file": mine, "max_gap": "8s"}, file=config, environment={"OFFNORMAL_RULES_COOL_DOWN": "6s"})
    assert result == RulesConfig(min_duration=4, merge_gap=2, cool_down=3, max_duration=60, max_gap=8)
    environment = {"OFFNORMAL_RULES": str(mine), "OFFNORMAL_RULES_COOL_DOWN": "6s"}
    assert rules(environment=environment) == RulesConfig(merge_gap=2, cool_down=6, max_gap=9)
    assert rules(file=written(tmp_path / "c.yaml", f"rules: {mine}")) == RulesConfig(
        merge_gap=2, cool_down=3, max_gap=9
    )


def test_a_file_of_rules_may_hold_variables_and_nothing_else(tmp_path):
    mine = written(tmp_path / "mine.yaml", "merge_gap: ${GAP}")
    assert rules(str(mine), environment={"GAP": "2s"}).merge_gap == 2
    written(mine, "threshold: 3")
    with pytest.raises(ConfigError, match=r"unknown key 'rules\.threshold'"):
        rules(str(mine))
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        rules("nowhere.yaml")
