from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict

from offnormal.config.fit import FitConfig
from offnormal.config.layers import build, read_yaml
from offnormal.config.model import Flattened
from offnormal.errors import ConfigError
from offnormal.types import Rate


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: list[str] | None = None
    features: int | None = None
    sigma: float = 4.0


class FitSome(FitConfig):
    detector: Annotated[Options, Flattened()] = Options()


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding=encoding)
    return path


def test_the_environment_wins_over_the_file_and_arguments_win_over_both(tmp_path):
    file = written(tmp_path, "batch_size: 1\nworkers: 1\ncategory: file\nlayout: file\n")
    environment = {"OFFNORMAL_WORKERS": "2", "OFFNORMAL_CATEGORY": "environment"}
    built = build(FitConfig, {"category": "given"}, file=file, environment=environment)
    assert (built.batch_size, built.workers, built.category, built.layout) == (
        1,
        2,
        "given",
        "file",
    )
    assert built.on_error == "fail"


def test_keys_of_the_detector_are_merged_one_by_one(tmp_path):
    file = written(tmp_path, "detector:\n  sigma: 1\n  features: 10\n  layers: [a, b]\n")
    environment = {"OFFNORMAL_DETECTOR_FEATURES": "20", "OFFNORMAL_DETECTOR_SIGMA": "2"}
    built = build(FitSome, {"detector": {"sigma": 3.0}}, file=file, environment=environment).detector
    assert (built.sigma, built.features, built.layers) == (3, 20, ["a", "b"])


def test_arguments_are_not_modified(tmp_path):
    arguments = {"detector": {"sigma": 3.0}}
    build(FitSome, arguments, environment={"OFFNORMAL_DETECTOR_FEATURES": "20"})
    assert arguments == {"detector": {"sigma": 3.0}}


@pytest.mark.parametrize(
    "text", ["detector: padim", "detector:\n  name: padim", "detector:\n  name: padim\n  sigma: 4"]
)
def test_a_file_may_name_its_detector(tmp_path, text):
    file = written(tmp_path, text)
    assert build(FitSome, {}, file=file, environment={}, detector="padim").detector == Options()
    with pytest.raises(ConfigError, match="for the detector 'padim', expected 'memae'"):
        build(FitSome, {}, file=file, environment={}, detector="memae")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sise": 3}, "unknown key 'sise': did you mean 'size'?"),
        ({"detector": {"featurs": 3}}, "unknown key 'detector.featurs': did you mean 'features'?"),
        ({"qqqq": 3}, "unknown key 'qqqq': expected one of "),
        ({1: 3}, "1: Keys should be strings"),
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1 (got 0)"),
        ({"batch_size": "many"}, "batch_size: Input should be a valid integer"),
        ({"resize": "strech"}, "resize: Input should be 'median_aspect', 'stretch', 'short_side' or 'letterbox'"),
        ({"crop": 3}, "crop: Input should be greater than or equal to 16 (got 3)"),
        ({"size": "big"}, "size: expected N or HxW in pixels, at least 16, such as 256 or 256x320 (got 'big')"),
        ({"detector": {"sigma": "wide"}}, "detector.sigma: Input should be a valid number"),
    ],
)
def test_errors_contain_key_value_and_expected_value(arguments, message):
    with pytest.raises(ConfigError) as error:
        build(FitSome, arguments, environment={})
    assert message in str(error.value)
    assert "pydantic" not in str(error.value)


def test_every_error_has_a_line():
    with pytest.raises(ConfigError) as error:
        build(FitSome, {"sise": 1, "batch_size": 0}, environment={})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "0.01", Rate(0.01)),
        ("rate", "1%", Rate(0.01)),
        ("category", "007", "007"),
        ("category", "no", "no"),
        ("data", "C:\\sets\\a b", Path("C:\\sets\\a b")),
        ("data", "*odd*", Path("*odd*")),
        ("group_by", "lot[0-9]+: (x)", "lot[0-9]+: (x)"),
        ("antialias", "off", False),
        ("batch_size", "4", 4),
        ("workers", "null", None),
        ("size", "256x320", (256, 320)),
        ("size", "[256, 320]", (256, 320)),
    ],
)
def test_values_of_the_environment(name, text, value):
    assert getattr(build(FitConfig, {}, environment={f"OFFNORMAL_{name.upper()}": text}), name) == value


def test_lists_of_the_environment_and_names_that_are_no_fields():
    environment = {"OFFNORMAL_DETECTOR_LAYERS": "[a, b]", "OFFNORMAL_TEST_DATA": "x", "PATH": "y"}
    assert build(FitSome, {}, environment=environment).detector.layers == ["a", "b"]


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "3"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    with pytest.raises(ConfigError, match=r"config\.yaml: contains a (list|str|int); expected a mapping"):
        read_yaml(written(tmp_path, text))


def test_files_that_are_missing_empty_broken_or_of_another_encoding(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)
    for text in ("", "# only a comment", "---\n"):
        assert read_yaml(written(tmp_path, text)) == {}
    for text, encoding in (("a: [1", "utf-8"), ("a: b: c", "utf-8"), ("a: ä", "latin-1")):
        with pytest.raises(ConfigError, match="not valid YAML"):
            read_yaml(written(tmp_path, text, encoding))
    assert read_yaml(written(tmp_path, "a: ä", "utf-8-sig")) == {"a": "ä"}


def test_a_file_cannot_run_code(tmp_path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(written(tmp_path, "a: !!python/object/apply:os.getcwd []"))


def test_variables_are_replaced_in_all_text_of_a_file(tmp_path):
    file = written(tmp_path, "category: a ${LOT} of ${LOT}\ndetector: {layers: ['${LAYER}', b]}\nworkers: ${COUNT}\n")
    environment = {"LOT": "7$", "LAYER": "${LOT}", "COUNT": "3"}
    built = build(FitSome, {}, file=file, environment=environment)
    assert (built.category, built.workers) == ("a 7$ of 7$", 3)
    assert built.detector.layers == ["${LOT}", "b"], "what the environment holds is taken as it is"


def test_text_that_only_looks_like_a_variable_stays(tmp_path):
    file = written(tmp_path, "category: $${LOT} costs $5 in ${}\nlayout: $$x\n")
    built = build(FitSome, {}, file=file, environment={})
    assert (built.category, built.layout) == ("${LOT} costs $5 in ${}", "$$x")


@pytest.mark.parametrize("name", ["LOT-1", "LOT:-none", "1LOT"])
def test_an_invalid_variable_name_is_an_error(tmp_path, name):
    file = written(tmp_path, f"category: ${{{name}}}\n")
    with pytest.raises(ConfigError, match="is not a valid variable name"):
        build(FitSome, {}, file=file, environment={"LOT": "1"})


@pytest.mark.parametrize("password", ["pa/ss", "p?x", "p#x", "p@ss", "p s"])
def test_a_password_that_is_invalid_in_a_url_is_refused_and_not_printed(tmp_path, password):
    file = written(tmp_path, "category: rtsp://admin:${CODE}@camera/1\n")
    with pytest.raises(ConfigError, match="CODE is part of a URL and contains") as error:
        build(FitSome, {}, file=file, environment={"CODE": password})
    assert password not in str(error.value)
    path = written(tmp_path, "category: http://camera/${CODE}\n")
    assert build(FitSome, {}, file=path, environment={"CODE": "a/b"}).category == "http://camera/a/b"


def test_errors_contain_no_value_of_the_environment(tmp_path):
    file = written(tmp_path, "detector: {layers: {a: '${CODE}'}}\nsize: '${CODE}'\nsise: '${CODE}'\n")
    with pytest.raises(ConfigError) as error:
        build(FitSome, {}, file=file, environment={"CODE": "hunter2"})
    assert "hunter2" not in str(error.value)
    assert "detector.layers" in str(error.value) and "got a mapping with a" in str(error.value)


def test_a_variable_that_is_not_set_is_an_error(tmp_path):
    file = written(tmp_path, "detector: {layers: ['${LAYER}']}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: \$\{LAYER\}: the environment variable LAYER is not set"):
        build(FitSome, {}, file=file, environment={})
