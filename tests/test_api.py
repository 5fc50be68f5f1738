import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import offnormal as on
from offnormal.errors import CalibrationError, ConfigError, DataError, UsageError


@pytest.fixture(scope="module")
def run(parts, tmp_path_factory):
    return on.fit("padim", data=parts, size=64, out=tmp_path_factory.mktemp("runs"), grid_stride=8, batch_size=4)


def test_fit_takes_options_of_the_verb_and_of_the_detector_by_name(run):
    assert run.bundle.detector.options.grid_stride == 8
    assert run.bundle.detector.input.size == (64, 64)
    assert (run.path / "bundle").is_dir()


def test_unknown_options_are_refused_with_a_suggestion(parts, tmp_path):
    with pytest.raises(ConfigError, match="grid_stride"):
        on.fit("padim", data=parts, out=tmp_path, detector={"grid_strid": 8})
    with pytest.raises(ConfigError, match="grid_stride"):
        on.fit("padim", data=parts, out=tmp_path, grid_strid=8)
    with pytest.raises(ConfigError, match="batch_size"):
        on.fit("padim", data=parts, out=tmp_path, batchsize=8)
    with pytest.raises(ConfigError, match="padim"):
        on.fit("padin", data=parts)
    with pytest.raises(UsageError, match="category"):
        on.fit("padim", data=parts, category="all")


def test_evaluate_of_all_categories_is_for_the_command_line(run, parts):
    with pytest.raises(UsageError, match="category"):
        on.evaluate(run.bundle, parts, category="all")


def test_files_folders_arrays_and_pictures_score_the_same(run, parts):
    folder = parts / "test" / "good"
    expected = on.score(run.bundle, folder)
    files = sorted(folder.glob("*.png"))
    arrays = [np.asarray(Image.open(path)) for path in files]
    for images in (files, str(folder / "*.png"), arrays, np.stack(arrays), [Image.open(path) for path in files]):
        actual = on.score(run.bundle, images, batch_size=2)
        np.testing.assert_allclose(actual.score, expected.score, rtol=1e-5)
        assert actual.map.shape == (len(files), 64, 64)
    single = on.score(run.bundle, arrays[0])
    np.testing.assert_allclose(single.score, expected.score[:1], rtol=1e-5)
    picture = on.score(run.bundle, Image.open(files[0]))
    np.testing.assert_allclose(picture.score, expected.score[:1], rtol=1e-5)


def test_gray_and_16_bit_arrays_are_scored(run):
    gray = np.full((64, 64), 120, np.uint8)
    deep = (gray.astype(np.uint16) * 257).astype(np.uint16)
    a, b = on.score(run.bundle, gray), on.score(run.bundle, deep)
    np.testing.assert_allclose(a.score, b.score, rtol=1e-4)


@pytest.mark.parametrize(
    "images",
    [
        [],
        ["/no/such/*.png"],
        [3],
        [np.zeros((4, 4, 3), np.uint8), "x.png"],
        np.zeros((3, 64, 64), np.uint8),
        np.zeros((64, 64, 1), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.int64),
        np.zeros((0, 5), np.uint8),
    ],
)
def test_what_cannot_be_scored_is_refused(run, images):
    with pytest.raises(DataError):
        on.score(run.bundle, images)


def test_calibrate_replaces_the_threshold_and_refuses_promises_it_cannot_keep(run, parts):
    before = run.bundle.calibration
    calibration = on.calibrate(run.bundle, parts / "test" / "good", rate="25%")
    assert calibration.rate == on.Rate(0.25)
    assert run.bundle.calibration == calibration != before
    assert on.load(run.path).calibration == calibration
    with pytest.raises(CalibrationError, match="99"):
        on.calibrate(run.bundle, parts / "test" / "good", rate=0.01)
    assert on.load(run.path).calibration == calibration


def test_predict_gives_verdicts_and_writes_the_scores(run, parts, tmp_path):
    files = sorted((parts / "test" / "good").glob("*.png"))
    predictions = list(on.predict(run.bundle, files, csv=tmp_path / "scores.csv", threshold=0.0))
    assert [prediction.item.name for prediction in predictions] == [str(path) for path in files]
    expected = on.score(run.bundle, files)
    np.testing.assert_allclose([prediction.table.score[0] for prediction in predictions], expected.score, rtol=1e-5)
    assert all(prediction.is_anomalous for prediction in predictions), "every distance is above 0"
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == len(files) + 1
    assert [prediction.is_anomalous for prediction in on.predict(run.bundle, files[0], threshold=1e9)] == [False]
    with pytest.raises(DataError):
        on.predict(run.bundle, tmp_path / "missing")
    with pytest.raises(ConfigError, match="overlays"):
        on.predict(run.bundle, files, overlay=tmp_path)


def test_evaluate_gives_metrics_and_writes_them(run, parts):
    result = on.evaluate(run.bundle, parts)
    assert result.metrics["image_AUROC"] > 0.95
    assert {"metrics.json", "scores.csv", "report.html"} <= {p.name for p in run.path.iterdir()}


def test_public_names_exist_are_few_and_lazy():
    assert len(on.__all__) <= 24
    for name in on.__all__:
        assert getattr(on, name) is not None
    assert on.__version__
    with pytest.raises(AttributeError):
        _ = on.nothing
    code = "import sys, offnormal; assert not {'torch', 'numpy', 'timm', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_functions_are_not_shadowed_by_modules_of_their_names(run, parts):
    for name in ("fit", "calibrate", "evaluate", "predict", "score", "load"):
        assert callable(getattr(on, name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda bundle: on.score(bundle, 5), "score needs images: paths, arrays, or Pillow images; got int"),
        (lambda bundle: on.score(bundle, None), "got NoneType"),
        (lambda bundle: on.score(bundle, b"a.png"), "got bytes"),
        (lambda bundle: on.score("runs/a", "a.png"), "score needs a bundle; got str: load it first"),
        (lambda bundle: on.predict(bundle, 5), "predict needs files, folders, or globs; got int"),
        (lambda bundle: on.predict(None, "a.png"), "predict needs a bundle; got NoneType"),
        (lambda bundle: on.evaluate("runs/a", "data"), "evaluate needs a bundle; got str"),
        (lambda bundle: on.calibrate("runs/a", "data"), "calibrate needs a bundle; got str"),
        (lambda bundle: on.load(5), "load needs the path of a bundle; got int"),
    ],
)
def test_arguments_of_a_wrong_type_are_explained(plain, call, message):
    with pytest.raises(UsageError, match=message):
        call(on.load(plain))
