import pytest
from pydantic import ValidationError

from offnormal.config.score import EvaluateConfig
from offnormal.config.validation import format_validation_error


def message(values):
    with pytest.raises(ValidationError) as error:
        EvaluateConfig.model_validate(values)
    return format_validation_error(error.value, EvaluateConfig)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1 (got 0)"),
        ({"split": "50/50"}, "split: expected three shares above 0 with the sum 100, such as 50/40/10 "),
        ({"smooth": "slow"}, "smooth: expected a duration such as 5s, 500ms, 10m, or 2h (got 'slow')"),
        ({"rules": {"max_gap": "x"}}, "rules.max_gap: expected a duration such as 5s, 500ms, 10m, or 2h (got 'x')"),
        ({"mergegap": 1}, "unknown key 'mergegap': did you mean 'merge_gap'?"),
        ({"rules": {"mergegap": 1}}, "unknown key 'rules.mergegap': did you mean 'merge_gap'?"),
        ({"min_duration": "2s"}, "unknown key 'min_duration': did you mean 'rules.min_duration'?"),
        ({"normal_class": {"secret": 1}}, "normal_class: Input should be a valid list (got a mapping with secret)"),
        ({"upload": "s3://key:secret@host/x"}, "unknown key 'upload': "),
        (
            {"data": ["rtsp://me:hunter2@host"]},
            "data: Input is not a valid path for <class 'pathlib.Path'> (got a list of 1)",
        ),
    ],
)
def test_a_fault_is_a_line_with_its_place_what_was_found_and_what_was_expected(values, line):
    assert message(values).startswith(line)
    assert "hunter2" not in message(values)


def test_every_fault_has_a_line():
    assert len(message({"batch_size": 0, "smooth": "slow", "sise": 1}).splitlines()) == 3
