"""Flags, environment variables, and YAML keys derive from one model: the same text gives the same value in each."""

import json
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from cyclopts import App, Parameter
from pydantic import BaseModel

from offnormal import registry
from offnormal.cli.flags import flags_of, takes_flags
from offnormal.config import fields
from offnormal.config.layers import build
from offnormal.config.model import FlagName, Flattened, find_mark, nested_model, set_values
from offnormal.config.score import BenchmarkConfig, CalibrateConfig, CompareConfig, EvaluateConfig, PredictConfig
from offnormal.verbs.fit import fit_config
from offnormal.verbs.import_weights import import_config
from offnormal.watching.config import WatchConfig

IMPORTABLE = ("ganomaly", "memae", "mnad")
MODELS = {
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "calibrate": CalibrateConfig,
    "compare": CompareConfig,
    "benchmark": BenchmarkConfig,
    "watch": WatchConfig,
    **{f"fit {name}": fit_config(name) for name in registry.names("detectors")},
    **{f"import {name}": import_config(name) for name in IMPORTABLE},
}
BESIDE = {  # what else a field needs
    "watch": {"cameras": [{"source": "a.mp4"}]},
    "watch calibrate_on": {"rate": "2/day"},
    "watch confidence": {"rate": "2/day"},
    "watch timezone": {"schedule": {"windows": ["sun"]}},
    **{f"fit memae {name}": {"detector": {"encoder": "csn_r50"}} for name in ("weights", "temporal", "freeze_encoder")},
    "fit embedding_ae target": {"detector": {"unfreeze": ["all"]}},
}
BY_NAME = {
    "zones": ("0,0 1,0 1,1", "exclude:0,0 1,0 1,1"),
    "windows": ("sat", "mon-fri 18:00-06:00"),
    "timezone": ("Europe/Berlin", "Asia/Tokyo"),
    "start_time": ("2026-11-20T18:00+01:00", "2026-11-21T06:30"),
    "metrics": ("9000", "0.0.0.0:9000"),
    "device": ("cpu", "cuda:1"),
    "sinks": ("jsonl:a", "csv:b"),
    "encoder": ("csn_r50", "slowonly_r18"),
    "split": ("60/30/10", "34/33/33"),
    "size": ("64x96", "128"),
    "rate": ("2/day", "1/hour"),
    "confidence": ("95", "90.5"),
}
BY_TYPE = {
    bool: ("true", "false"),
    int: ("32", "64"),
    float: ("0.25", "0.5"),
    Path: ("a/b", "c"),
    str: ("one", "two"),
    fields.Duration: ("20s", "3m"),
}


def leaves(model, keys=()):
    """Every field that is a flag, with the keys that lead to it."""
    for name, field in model.model_fields.items():
        if find_mark(field, Flattened) is not None:
            yield from leaves(nested_model(field.annotation), (*keys, name))
        elif name != "bundle" and (nested_model(field.annotation) is None or find_mark(field, FlagName)):
            yield (*keys, name), field


def is_list(annotation):
    return get_origin(annotation) is list or any(map(is_list, get_args(annotation)))


def texts(name, field):
    """Two texts of different values."""
    if name in BY_NAME and not (name == "encoder" and field.annotation is not str):
        return BY_NAME[name]
    annotation, kinds = field.annotation, [field.annotation]
    while kinds:
        annotation = kinds.pop(0)
        if get_origin(annotation) is Literal and len(get_args(annotation)) > 1:
            return tuple(map(str, get_args(annotation)[:2]))
        kinds += get_args(annotation)
    description = repr(field.annotation) + repr(field.metadata)
    if "parse_duration" in description:
        return BY_TYPE[fields.Duration]
    return next(values for kind, values in BY_TYPE.items() if kind in atoms(field.annotation))


def atoms(annotation):
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*map(atoms, inner))


CASES, COVERED = [], set()
for MODEL, KIND in MODELS.items():
    for KEYS, FIELD in leaves(KIND):
        OWNER = MODEL if KEYS[0] == "detector" or MODEL.startswith(("watch", "import")) else ""
        if (OWNER, KEYS, repr(FIELD)) not in COVERED:  # of fields that several verbs share one
            COVERED.add((OWNER, KEYS, repr(FIELD)))
            CASES.append(pytest.param(MODEL, KEYS, FIELD, id=f"{MODEL}-{'.'.join(KEYS)}"))


@cache
def command(name):
    app = App(result_action="return_value", default_parameter=Parameter(negative_iterable=()))

    @app.default
    @takes_flags(MODELS[name], without=("bundle", "cameras"))
    def flags(*, options: BaseModel | None = None):
        return set_values(options)

    return app


def flag(keys, field, text):
    """As it is typed."""
    named = find_mark(field, FlagName)
    word = "--" + keys[-1].replace("_", "-") if named is None else named.name
    if field.annotation is bool:
        return [word if text == "true" else "--no-" + word[2:]]
    return [word, text]


def layers(name, keys, field, text, tmp_path):
    """The layers in rising order, each with the text in it, as arguments of `build`."""
    written = json.dumps([text]) if is_list(field.annotation) else text
    file = tmp_path / f"{abs(hash(text))}.yaml"
    file.write_text("".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(keys)).rstrip() + f" {written}\n")
    yield {"file": file}
    yield {"environment": {"_".join(("OFFNORMAL", *keys)).upper(): written}}
    yield {"given": command(name)(flag(keys, field, text), exit_on_error=False, print_error=False)}


def result(name, keys, *layers):
    """The value that layers make together."""
    last, model = keys[-1], MODELS[name]
    beside = {**BESIDE.get(name, {}), **BESIDE.get(f"{name} {last}", {})}
    merged = {"given": {}, "file": None, "environment": {}}
    for layer in layers:
        merged |= layer
    flags = dict(merged["given"])
    for key, value in beside.items():
        flags[key] = {**value, **flags.get(key, {})} if isinstance(value, dict) else flags.get(key, value)
    parsed = build(model, flags, file=merged["file"], environment=merged["environment"])
    for key in keys:
        parsed = getattr(parsed, key)
    return parsed


@pytest.mark.parametrize(("name", "keys", "field"), CASES)
def test_flag_environment_and_file_give_the_same_value_and_the_later_wins(name, keys, field, tmp_path):
    low, high = texts(keys[-1], field)
    lower = [*layers(name, keys, field, low, tmp_path)]
    higher = [*layers(name, keys, field, high, tmp_path)]
    values = [result(name, keys, layer) for layer in higher]
    assert values[0] == values[1] == values[2]
    assert type(values[0]) is type(values[1]) is type(values[2])
    other = [result(name, keys, layer) for layer in lower]
    assert other[0] == other[1] == other[2] != values[0]
    for below, above in ((0, 1), (1, 2)):
        assert result(name, keys, lower[below], higher[above]) == values[0]
        assert result(name, keys, higher[below], lower[above]) == other[0]


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_one_flag(name):
    names = [argument.name for argument in command(name).assemble_argument_collection() if argument.show]
    wanted = [flag(keys, field, "true")[0] for keys, field in leaves(MODELS[name])]
    files = ["--rules"] if "rules" in MODELS[name].model_fields else []
    assert sorted(names) == sorted(wanted + files)


@pytest.mark.parametrize("verb", ["benchmark", "calibrate", "compare", "evaluate", "predict", "watch"])
def test_no_flag_is_declared_twice(verb):
    parameters = set(signature(import_module(f"offnormal.cli.{verb}").command).parameters)
    assert not (parameters - {"bundle"}) & {keys[-1] for keys, _ in leaves(MODELS[verb])}
    assert "config" in parameters and "options" in parameters


def test_flags_are_never_required_and_know_no_rule_of_the_whole():
    assert flags_of(WatchConfig)() is not None
    assert set_values(flags_of(WatchConfig)(threshold=1, rate="2/day")) == {"threshold": 1.0, "rate": "2/day"}


def test_defaults_and_help_are_those_of_the_model():
    flags = flags_of(EvaluateConfig).model_fields
    assert flags["split"].default == "50/40/10"
    assert flags["smooth"].default is None
    assert flags["max_pixels"].default == 64_000_000
    assert flags["rules"].default.merge_gap == "5s"
    assert flags["split"].description == EvaluateConfig.model_fields["split"].description
