"""A few seeds of every fuzzer, and what the fuzzer notices; `make fuzz` runs more, and stores the inputs that fail."""

import os
import signal
import time
import traceback
from typing import ClassVar

import pytest

from offnormal.errors import DataError
from tests.fuzz.fuzz import failures_of, supervise
from tests.fuzz.reader import Reader
from tests.fuzz.readers import READERS

INPUTS = {  # a second or two each
    "images": 500,
    "masks": 200,
    "videos": 60,
    "labels": 300,
    "manifests": 500,
    "bundles": 40,
    "configs": 300,
    "events": 500,
    "arguments": 20,
    "tables": 200,
    "budgets": 500,
    "states": 300,
    "spools": 60,
    "logs": 100,
}


@pytest.mark.parametrize("name", READERS)
def test_changed_input_ends_in_a_result_or_an_explained_error(name, tmp_path):
    reader = READERS[name](tmp_path / name)
    for path in reader.seeds:
        reader.check_content(path, path.read_bytes())
        assert reader.results or not reader.errors, f"{path.name} is refused unchanged: nothing behind that is fuzzed"
    for seed, error in failures_of(reader, range(INPUTS[name])):
        pytest.fail(f"{name}, seed {seed}: {''.join(traceback.format_exception(error)[-3:])}")
    assert reader.refused < INPUTS[name]


def _hang(signals=()):
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        time.sleep(0.01)


def _explain():
    raise DataError("bad.txt, line 1: 'x'; expected a number")


class Faulty(Reader):
    """A reader with a fault for each of these seeds."""

    FAULTS: ClassVar = {
        2: lambda: None + 1,
        3: _hang,
        5: lambda: bytearray(1 << 40),
        7: lambda: _hang({signal.SIGALRM}),
        8: lambda: os.kill(os.getpid(), signal.SIGKILL),
        9: lambda: os._exit(0),
    }

    def write_seeds(self, folder):
        folder.mkdir()
        (folder / "a.txt").write_text("valid")
        return [folder / "a.txt"]

    def attempt(self, seed, keep=None):
        self.seed = seed
        super().attempt(seed, keep)

    def check(self, path):
        self.read(self.FAULTS.get(self.seed, _explain if self.seed % 2 else str))


def test_planted_faults_are_noticed(tmp_path):
    (tmp_path / "faulty-4.txt").write_text("failed in an earlier run")
    failed, refused = supervise(Faulty, "faulty", range(1, 12), tmp_path, limit_s=0.2)
    assert failed == sorted(Faulty.FAULTS) and refused == 2
    last_lines = {seed: (tmp_path / f"faulty-{seed}.txt").read_text().splitlines()[-1] for seed in failed}
    assert "TypeError" in last_lines[2] and "took more than" in last_lines[3] and "MemoryError" in last_lines[5]
    assert [last_lines[seed] for seed in (7, 8, 9)] == [
        f"the process ended with exit code {code}" for code in (1, -9, 0)
    ]
    assert {int(path.stem.split("-")[1]) for path in tmp_path.glob("Faulty-*")} >= {2, 3, 5}
