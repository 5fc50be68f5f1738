"""A few seeds of every fuzzer; `make fuzz` runs more, and stores the inputs that fail."""

import traceback

import pytest

from tests.fuzz.fuzz import failures_of
from tests.fuzz.readers import READERS

INPUTS = {  # about four seconds each
    "images": 600,
    "videos": 60,
    "labels": 300,
    "bundles": 60,
    "configs": 60,
    "events": 300,
    "arguments": 60,
    "tables": 120,
}


@pytest.mark.parametrize("name", READERS)
def test_changed_input_ends_in_a_result_or_an_explained_error(name, tmp_path):
    reader = READERS[name](tmp_path / name)
    for seed, error in failures_of(reader, range(INPUTS[name])):
        pytest.fail(f"{name}, seed {seed}: {''.join(traceback.format_exception(error)[-3:])}")
