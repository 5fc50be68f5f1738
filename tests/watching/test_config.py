from pathlib import Path

import pytest

from offnormal.config.layers import build
from offnormal.errors import ConfigError
from offnormal.types import Rate
from offnormal.watching.config import WatchConfig, camera_name

FULL = """
bundle: porch.bundle
rate: 2/day
calibrate_on: [normal/]
rules: {min_duration: 2s}
cameras:
  - source: rtsp://admin:secret@10.0.0.5:554/1
    zones: ["exclude:0,0 1,0 1,0.2 0,0.2", {points: [[0, 0], [1, 0], [1, 1]], name: lawn}]
    schedule: {timezone: Europe/Berlin, windows: ["mon-fri 18:00-06:00"]}
    rules: {cool_down: 1m}
    health: {frozen_s: 90}
  - {name: yard, source: yard.mp4, bundle: yard.bundle, threshold: 3}
  - {source: line/, schedule: sat}
sinks: [jsonl:events.jsonl, {kind: webhook, url: "http://127.0.0.1:9000/hook"}]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "cameras.yaml").write_text(text)
        return build(WatchConfig, {}, file=tmp_path / "cameras.yaml", environment={})

    return read


def test_a_camera_inherits_the_common_settings(read):
    porch, yard, line = read(FULL).camera_configs()
    assert (porch.name, yard.name, line.name) == ("10.0.0.5-554-1", "yard", "line")
    assert (porch.bundle, yard.bundle) == (Path("porch.bundle"), Path("yard.bundle"))
    assert (porch.rules.min_duration, porch.rules.cool_down, porch.rules.merge_gap) == (2, 60, 5)
    assert [zone.kind for zone in porch.zones] == ["exclude", "include"]
    assert porch.schedule.timezone == "Europe/Berlin" and line.schedule.windows == ["sat"]
    assert porch.health.frozen_s == 90
    assert (porch.rate, line.rate) == (Rate(2, "day"), Rate(2, "day"))
    assert (yard.threshold, yard.rate, yard.calibrate_on) == (3, None, []), "its threshold replaces the common rate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("zones:", "zonez:"), "unknown key 'cameras.0.zonez': did you mean 'zones'?"),
        (("frozen_s", "frozn_s"), "unknown key 'cameras.0.health.frozn_s': did you mean 'frozen_s'?"),
        (("sinks:", "sink:"), "unknown key 'sink': did you mean 'sinks'?"),
        (("cool_down: 1m", "cool_down: -1"), "cameras.0.rules.cool_down: expected a duration such as 5s"),
        (("rate: 2/day", "rate: 1%"), "such as 2/day or 1/hour"),
        (("threshold: 3", "threshold: 3, rate: 2/day"), "has no guaranteed rate"),
        (("mon-fri 18", "man-fri 18"), "days are mon"),
        (("0.2 0,0.2", ""), "expected 3 points"),
        (("name: yard", "name: a/b"), "cameras.1.name"),
    ],
)
def test_errors_name_the_setting(read, change, message):
    with pytest.raises(ConfigError) as error:
        read(FULL.replace(*change)).camera_configs()
    assert message in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bundle: b\ncameras: [{sorce: 'rtsp://me:hunter2@a/1'}]", "cameras.0.source: Field required"),
        ("threshold: 1\nrate: 2/day\ncameras: [{source: 'rtsp://me:hunter2@a/1'}]", "has no guaranteed rate"),
        ("cameras: 'rtsp://me:hunter2@a/1'", "cameras: "),
        ("cameras: [{source: ['rtsp://me:hunter2@a/1']}]", "cameras.0.source: "),
    ],
)
def test_errors_contain_no_passwords(read, text, message):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


def test_cameras_need_a_bundle_and_a_unique_name(read):
    with pytest.raises(ConfigError, match="camera a has no bundle"):
        read("cameras: [{source: a.mp4}]").camera_configs()
    with pytest.raises(ConfigError, match="two cameras are named 'a'"):
        read("bundle: b\ncameras: [{source: x/a.mp4}, {source: y/a.mp4}]").camera_configs()


def test_names_contain_no_secrets():
    assert camera_name("rtsp://me:pa@ss@host/live?token=abc") == "host-live"
