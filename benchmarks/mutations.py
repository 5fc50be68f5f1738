"""Do tests notice mistakes? Each mutation of mutations.toml is applied to a copy of src, and its tests must fail.

    python benchmarks/mutations.py [PATH ...]       # only files whose path begins so, such as calibration/ or events/

A mutation names a file below src/offnormal, a text in it (white space does not matter), and what to put in its place.
Its tests are tests/<folder>/test_<file>.py, or what `tests` says. Where nothing observable changes, `same` says why.
Ends with 1 where a mutation survives, with a message where a text is not found once, a mutation has a name that its
file has not, or tests fail without it.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).with_suffix(".toml")
TIMEOUT_S = 900


@dataclass(frozen=True)
class Mutation:
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    same: str | None

    @classmethod
    def of(cls, row: dict) -> Mutation:
        path = Path(row["file"])
        tests = row.get("tests", [f"tests/{path.parent}/test_{path.stem}.py"])
        return cls(row["file"], row["from"], row["to"], tuple(tests), row.get("same"))

    def apply(self, source: str) -> str:
        pattern = r"\s+".join(re.escape(word) for word in self.old.split())
        changed, count = re.subn(pattern, lambda _: self.new, source)
        if count != 1:
            raise SystemExit(f"{self.file}: {count} places like {self.old!r}, expected 1; update {TABLE.name}")
        if unknown := _names(changed) - _names(source) - set(dir(builtins)):  # would fail, whatever is tested
            raise SystemExit(f"{self.file}: no {', '.join(sorted(unknown))}, in {self.new!r}; update {TABLE.name}")
        return changed


def _names(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def tests_pass(source: Path, tests: tuple[str, ...]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", "not realdata"]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            [*command, *tests], cwd=ROOT, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False  # such as a loop that does not end
    if run.returncode not in (0, 1):
        raise SystemExit(f"pytest {' '.join(tests)} ended with {run.returncode}:\n{run.stdout.decode()[-2000:]}")
    return run.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", default=[""], help="beginnings of file names; default: all")
    chosen = tuple(parser.parse_args().paths)
    rows = tomllib.loads(TABLE.read_text())["mutation"]
    mutations = [mutation for mutation in map(Mutation.of, rows) if mutation.file.startswith(chosen)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        for mutation in mutations:
            mutation.apply((source / "offnormal" / mutation.file).read_text())  # all are found, before any is run
            if missing := [test for test in mutation.tests if not (ROOT / test.partition("::")[0]).exists()]:
                raise SystemExit(f"{mutation.file}: no {', '.join(missing)}; set `tests` in {TABLE.name}")
        passing: set[tuple[str, ...]] = set()
        for number, mutation in enumerate(mutations, 1):
            if mutation.tests not in passing and not tests_pass(source, mutation.tests):
                raise SystemExit(f"pytest {' '.join(mutation.tests)} fails without any mutation")
            passing.add(mutation.tests)
            path = source / "offnormal" / mutation.file
            original = path.read_text()
            path.write_text(mutation.apply(original))
            survived = tests_pass(source, mutation.tests)
            path.write_text(original)
            word = ("same" if mutation.same else "SURVIVED") if survived else "noticed"
            print(
                f"{number:3} of {len(mutations)}  {word:8}  {mutation.file}: {mutation.old} -> {mutation.new}",
                flush=True,
            )
            if survived and not mutation.same:
                survivors.append(mutation)
    print(f"{len(survivors)} of {len(mutations)} mutations survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
