"""The alarms of evaluate, predict, and compare are the events that watching raises on the same video."""

import json
from shutil import copytree

import pytest

import offnormal as on
from offnormal.cli.main import run
from offnormal.sources.video import VideoFile
from tests.footage import FPS, film
from tests.video_files import write_video

FRAMES = 260
SPANS = ((25, 60), (120, 170))  # frames with a square, further apart than alarms that become one
FLASH = (230, 234)  # too short for an alarm


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A dataset with one labeled test video."""
    root = tmp_path_factory.mktemp("sets") / "street"
    for folder in ("test", "labels"):
        (root / folder).mkdir(parents=True)
    frames = film(9, frames=FRAMES)
    for start, stop in (*SPANS, FLASH):
        frames[start:stop] = film(9, anomaly=(start, stop), frames=FRAMES)[start:stop]
    write_video(root / "test" / "a.mp4", frames, fps=FPS, gop=10)
    flags = [int(any(start <= i < stop for start, stop in SPANS)) for i in range(FRAMES)]
    (root / "labels" / "a.csv").write_text("\n".join(map(str, flags)) + "\n")
    return root


@pytest.fixture
def bundle(yard, tmp_path):
    return copytree(yard / "bundle", tmp_path / "bundle")


def outputs(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def evaluated(bundle, street, out, flags):
    assert run(["evaluate", str(bundle), "--data", str(street), "--out", str(out), *flags]) == 0
    return json.loads((out / "metrics.json").read_text())["alarms"]


def agreed(bundle, street, tmp_path, capsys, rules):
    """Start, end, and peak of the alarms, by all verbs."""
    flags = [text for name, value in rules.items() for text in (f"--{name.replace('_', '-')}", f"{value}s")]
    report = on.evaluate(on.load(bundle), street, out=tmp_path / "a", rules=rules).alarms
    alarms = [labeled.alarm for labeled in report.alarms]
    counts = evaluated(bundle, street, tmp_path / "b", flags)
    capsys.readouterr()
    assert run(["predict", str(bundle), str(street / "test"), "--json", *flags]) == 0
    (predicted,) = outputs(capsys)
    (path,) = (street / "test").iterdir()
    assert run(["watch", str(bundle), str(path), "--dry-run", "--json", *flags]) == 0
    (watched,) = outputs(capsys)
    compared = on.compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "c", rules=rules).rows[0].alarms
    bounds = [(alarm.start_s, alarm.end_s) for alarm in alarms]
    assert [(alarm["start_s"], alarm["end_s"]) for alarm in predicted["alarms"]] == bounds
    events = watched["events"]
    assert [event["position_s"] for event in events] == pytest.approx([alarm.start_s for alarm in alarms], abs=1.5e-3)
    for alarm, event in zip(alarms, events, strict=True):  # at the end of a video, watching knows no length of a frame
        assert -1.5e-3 < alarm.end_s - event["position_s"] - event["duration_s"] < 1 / FPS + 1.5e-3
    peaks = [float(alarm["peak_score"]) for alarm in predicted["alarms"]]
    assert peaks == pytest.approx([event["peak_score"] for event in watched["events"]], rel=1e-5)
    assert [alarm["peak_frame"] for alarm in predicted["alarms"]] == [alarm.peak for alarm in alarms]
    assert counts["alarms"] == len(alarms) == len(compared.alarms)
    assert [(labeled.alarm.start, labeled.alarm.stop) for labeled in compared.alarms] == [
        (a.start, a.stop) for a in alarms
    ]
    return alarms


@pytest.mark.parametrize(
    ("rules", "starts"),
    [
        ({}, [25, 120]),
        ({"min_duration": 0.3, "merge_gap": 0.5}, [25, 120, 230]),
        ({"min_duration": 0.0, "merge_gap": 8.0}, [25]),
        ({"min_duration": 4.0}, [120]),
    ],
)
def test_every_verb_finds_the_same_alarms(bundle, street, tmp_path, capsys, rules, starts):
    assert [alarm.start for alarm in agreed(bundle, street, tmp_path, capsys, rules)] == starts


def test_a_bundle_calibrated_for_a_number_of_alarms_raises_the_same(bundle, yard, street, tmp_path, capsys):
    calibration = on.calibrate(on.load(bundle), yard / "calm.mp4", rate="120/hour", rules={"incident_gap": 0})
    assert not calibration.rate.is_share
    assert agreed(bundle, street, tmp_path, capsys, {})


def test_no_alarm_reaches_across_a_restart_of_the_clock(bundle, tmp_path, capsys):
    (tmp_path / "joined" / "test").mkdir(parents=True)
    content = b""
    for number, span in enumerate(((70, 100), (0, 30))):
        frames = film(9, anomaly=span, frames=100)
        content += write_video(tmp_path / f"{number}.ts", frames, fps=25, gop=25).read_bytes()
    (tmp_path / "joined" / "test" / "a.ts").write_bytes(content)
    alarms = agreed(bundle, tmp_path / "joined", tmp_path, capsys, {})
    assert [(alarm.start, alarm.stop) for alarm in alarms] == [(70, 100), (100, 130)]


def test_a_lost_frame_interrupts_no_alarm(bundle, tmp_path, capsys):
    path = tmp_path / "torn" / "test" / "a.avi"
    path.parent.mkdir(parents=True)
    frames = film(9, anomaly=(30, 60), frames=100)
    write_video(path, frames, fps=FPS, codec="mjpeg", options={"q:v": "1", "b": "20000000"})
    content = bytearray(path.read_bytes())
    chunks = [at for at in range(content.index(b"movi"), len(content)) if content[at : at + 4] == b"00dc"]
    length = int.from_bytes(content[chunks[45] + 4 : chunks[45] + 8], "little")
    content[chunks[45] + 8 : chunks[45] + 8 + length] = bytes(length)
    path.write_bytes(content)
    assert 45 not in [frame.index for frame in VideoFile(path).frames()]
    rules = {"min_duration": 2.0, "merge_gap": 0.0}  # longer than either half of it
    (alarm,) = agreed(bundle, tmp_path / "torn", tmp_path, capsys, rules)
    assert (alarm.start, alarm.stop) == (30, 60)
