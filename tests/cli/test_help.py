"""Help pages as people read them: the common flags on two screens, every flag with --help-all, an example on each."""

from __future__ import annotations

import pytest

from offnormal import registry
from offnormal.cli.main import run

VERBS = ("benchmark", "calibrate", "compare", "demo", "doctor", "evaluate", "list", "predict", "upload", "watch")
PAGES = [*([verb] for verb in VERBS), ["fit"], ["import"], *(["fit", name] for name in registry.names("detectors"))]


@pytest.fixture
def page(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def read(*arguments):
        assert run(arguments) == 0
        return capsys.readouterr().out

    return read


@pytest.mark.parametrize("command", PAGES, ids=" ".join)
def test_a_page_is_an_imperative_summary_flags_on_two_screens_and_an_example(page, command):
    lines = page(*command, "--help").splitlines()
    assert lines[0].startswith(f"Usage: offnormal {' '.join(command)}")
    assert lines[lines.index("") + 1][0].isupper()
    assert len(lines) <= 85
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(f"Example: offnormal {' '.join(command)}") for line in lines)


@pytest.mark.parametrize("command", PAGES, ids=" ".join)
def test_help_all_has_every_flag_of_help(page, command):
    def flags(text):
        return {line.split()[1] for line in text.splitlines() if line.startswith("│ --")}

    assert flags(page(*command, "--help")) <= flags(page(*command, "--help-all"))


def test_rarely_needed_flags_are_on_the_long_page_alone(page):
    short, long = page("fit", "ganomaly", "--help"), page("fit", "ganomaly", "--help-all")
    for flag in ("--latent", "--schedule", "--interpolation", "--cache", "--split", "--track", "--batch-size"):
        assert f"│ {flag} " not in short
        assert f"│ {flag} " in long


def test_usage_names_every_argument(page):
    assert page("predict", "--help").startswith("Usage: offnormal predict [OPTIONS] BUNDLE INPUT...\n")
    assert page("compare", "--help").startswith("Usage: offnormal compare [OPTIONS] RUN RUN...\n")
    assert page("fit", "padim", "--help").startswith("Usage: offnormal fit padim [OPTIONS] [FOLDER]\n")
    for command in PAGES:
        assert "ARGS" not in page(*command, "--help").splitlines()[0]


def test_a_flag_takes_one_value_and_empty_defaults_are_not_shown(page):
    text = page("watch", "--help-all") + page("list", "--help")
    assert "STR..." not in text and "PATH..." not in text and '[default: ""]' not in text


def test_help_names_the_form_of_a_value(page):
    text = page("fit", "padim", "--help-all") + page("watch", "--help-all")
    forms = (
        "--every DURATION",
        "--merge-gap DURATION",
        "--size SIZE",
        "--rate RATE",
        "--split A/B/C",
        "--device DEVICE",
    )
    for form in (*forms, "--sink KIND:TARGET", "--zone ZONE", "--layout STR"):
        assert f"│ {form} " in text


def test_headings_are_in_the_order_in_which_people_read_them(page):
    text = page("fit", "ganomaly", "--help-all")
    headings = ["Data", "Input", "Threshold", "Output", "ganomaly", "Training", "Class folders", "Videos", "Computing"]
    headings += ["Tracking and upload", "Options"]
    starts = [text.index(f"─ {heading} ─") for heading in headings]
    assert starts == sorted(starts)
    expected = {"--data": "Data", "--size": "Input", "--rate": "Threshold", "--epochs": "Training", "--json": "Options"}
    for flag, heading in expected.items():
        at = text.index(f"│ {flag} ")
        assert headings[sum(start < at for start in starts) - 1] == heading


def test_a_switch_that_is_off_is_shown_without_its_negative_name(page):
    text = page("fit", "padim", "--help-all")
    assert "│ --motion " in text and "--no-motion" not in text
    assert "│ --antialias " in text and "--no-antialias" in text
