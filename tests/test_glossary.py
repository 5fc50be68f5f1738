"""One word per thing, in plain American English (docs/glossary.md): names, strings, docs, and templates."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.j2")])

NAMES = re.compile(
    "_*(found|one|own|made|given|known|shown|kept|place|things|how|said|told|seen|suited|taken|laid|spoken)_*", re.I
)
PHRASES = re.compile(
    r"\b(promis(e|es|ed)|kept back|broken off|passed over|speaks? of|tells? of|goes on|go on with|anew"
    r"|pictures?|film|by hindsight|flatter(s|ing)?|escapes|laid frames?|remade|elsewhere|outlets?"
    r"|1 (frames|images|videos|clips|files|events|alarms)"
    r"|data sets?|learnt|colours?|grey|neighbours?|licences?|labelled|centres?|centred|towards"
    r"|(normali|recogni|standardi|initiali)s\w+|optimis(e[drs]?|ing|ation))\b",
    re.IGNORECASE,
)
REPLACED = ("neighbours", "colours", "escapes", "by hindsight", "promise", "picture", "pictures")
ALLOWED = {  # a file, and what it may say: a word that it replaces, or the name of a module
    *(("CHANGELOG.md", word) for word in REPLACED),
    ("docs/architecture.md", "pictures"),
}


def bound_names(tree: ast.Module):
    """Every name that a module gives to something: variables, parameters, attributes, functions, and classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno


def strings(tree: ast.Module):
    """Every string literal: docstrings, help, errors, logs, keys."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def empty_names(name: str, tree: ast.Module):
    for bound, line in bound_names(tree):
        if NAMES.fullmatch(bound):
            yield f"{name}:{line}: a name that says nothing: {bound}"


def violations(path: Path):
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".py":
        tree = ast.parse(path.read_text())
        yield from empty_names(name, tree)
        texts = list(strings(tree))
    else:
        texts = [(text, line) for line, text in enumerate(path.read_text().splitlines(), 1)]
    for text, line in texts:
        for match in PHRASES.finditer(text):
            if (name, match[0].lower()) not in ALLOWED:
                yield f"{name}:{line}: {match[0]!r} in {text[max(0, match.start() - 30) : match.end() + 30]!r}"


@pytest.mark.parametrize("path", [*SOURCES, *TEXTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_uses_the_words_of_the_glossary(path):
    assert not list(violations(path))


def test_names_in_tests_benchmarks_and_examples_say_what_they_hold():
    assert not [line for path in TESTS for line in empty_names(str(path), ast.parse(path.read_text()))]


def test_the_search_finds_what_it_looks_for(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text('def told(own):\n    """What was kept back."""\n    found = "1 images"\n')
    (tmp_path / "b.md").write_text("The promise goes on.\n")
    assert len(list(violations(tmp_path / "a.py"))) == 5
    assert len(list(violations(tmp_path / "b.md"))) == 2
