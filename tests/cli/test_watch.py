"""The verb `watch` as a user types it: dry runs, checks, signals, kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from offnormal.cli.main import run
from offnormal.cli.watch import format_event
from offnormal.events.event import camera_event
from tests.footage import FPS, film
from tests.servers import HttpStream, mjpeg
from tests.video_files import write_video
from tests.watching.yard import ODD, QUICK_RECORD, QUICK_RULES

LONG_S = 60  # longer than any test


@pytest.fixture
def config(yard, tmp_path):
    """A configuration file with one live camera and an event that lasts until the end of its video."""
    write_video(tmp_path / "stays.mp4", film(9, anomaly=(15, 600), frames=600), fps=FPS, gop=5)
    values = {
        "bundle": str(yard / "bundle"),
        "out": str(tmp_path / "out"),
        "threads": 1,
        "rules": QUICK_RULES,
        "record": QUICK_RECORD,
        "sinks": [f"jsonl:{tmp_path / 'events.jsonl'}"],
        "cameras": [{"name": "gate", "source": str(tmp_path / "stays.mp4"), "realtime": True}],
    }
    (tmp_path / "cameras.yaml").write_text(json.dumps(values))
    return tmp_path / "cameras.yaml"


ACCEPT_INTERRUPTS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
"""
SLOW = """
import os, time, torch
from offnormal.cli.main import main
from offnormal.scoring import Scorer

score, much = Scorer.score_streams, torch.ones(300, 300)

def slow(*given):
    end_s = time.monotonic() + float(os.environ["SLOW_S"])
    if os.path.exists(os.environ["SLOW"]):
        open(os.environ["SLOW"] + ".begun", "a").write(".")
    while os.path.exists(os.environ["SLOW"]) and time.monotonic() < end_s:
        much @ much
    return score(*given)

Scorer.score_streams = slow
main()
"""


def start(config, *more, code="from offnormal.cli.main import main; main()", slow_s=20):
    program = [sys.executable, "-c", ACCEPT_INTERRUPTS + code]
    return subprocess.Popen(
        [*program, "watch", "--config", str(config), "--json", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SLOW": str(config.parent / "slow"), "SLOW_S": str(slow_s)},
    )


def finish(program):
    out, err = program.communicate(timeout=LONG_S)
    return [json.loads(line) for line in out.splitlines()], err


def rows(config):
    return [json.loads(line)["event"] for line in (config.parent / "events.jsonl").read_text().splitlines()]


def test_a_dry_run_prints_events_and_a_table(yard, tmp_path, capsys):
    arguments = ["watch", str(yard / "bundle"), str(yard / "odd.mp4"), "--dry-run", "--out", str(tmp_path)]
    assert run(arguments) == 0
    event, head, row = capsys.readouterr().out.splitlines()
    assert event.split()[:3] == ["odd", "0:02.5-0:04.5", "anomaly"] and "high" in event
    assert head.split()[:3] == ["recording", "footage", "alarms"] and row.split()[2:4] == ["s", "1"]
    assert run([*arguments, "--json"]) == 0
    (result,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [event["position_s"] for event in result["events"]] == [ODD[0] / FPS] and result["alarms"] == 1
    assert not list(tmp_path.iterdir())


def test_an_event_of_the_camera_has_its_position_in_a_recording():
    start = {"start_s": 75.0, "end_s": 90.0, "is_over": True, "detail": "80 % of the image within 1 s"}
    in_recording = camera_event("gate", "scene_change", **start, recording_s=0.0)
    assert format_event(in_recording) == "gate  1:15.0-1:30.0  scene change  80 % of the image within 1 s"
    assert "  peak 123456  " in format_event(replace(in_recording, peak_score=123456.0)), "no exponent"
    assert format_event(camera_event("gate", "frozen", **start)).startswith("gate  1970-01-01 00:01:15-00:01:30")


def test_a_check_prints_the_setup(yard, config, capsys):
    more = ["--check", "--connect", "--zone", "0,0 1,0 1,1", "--threshold", "3"]
    assert run(["watch", "--config", str(config), *more]) == 0
    out = capsys.readouterr().out
    for word in ("gate", "pixel_gaussian", "64x64", "set by hand, no guarantee", "jsonl"):
        assert word in out
    source = "rtsp://user:secret@127.0.0.1:1/x"
    assert run(["watch", str(yard / "bundle"), source, "--check", "--connect", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["first_frame"].startswith("no frame") and "secret" not in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "such as rtsp://camera/1, or --config"),
        (["BUNDLE", "nowhere.mp4"], "no such file or folder"),
        (["BUNDLE", "ODD", "nowhere.mp4", "--dry-run"], "no such file or folder"),
        (["BUNDLE", "ODD", "--rate", "1%"], "such as 2/day or 1/hour"),
        (["BUNDLE", "ODD", "--rate", "2/day", "--dry-run"], "--calibrate-on DIR"),
        (["BUNDLE", "ODD", "--sink", "jsn:x"], "did you mean jsonl"),
        (["BUNDLE", "ODD", "--zone", "0,0"], "expected 3 points"),
        (["BUNDLE", "ODD", "--schedule", "noon"], "expected days, times or both"),
        (["BUNDLE", "ODD", "--timezone", "Europe/Berlin"], "without windows"),
        (["BUNDLE", "rtsp://host/1", "--dry-run"], "is not a recording"),
        (["BUNDLE", "ODD", "--connect"], "only works with --check"),
    ],
)
def test_wrong_use_is_an_error_message(yard, capsys, arguments, message):
    names = {"BUNDLE": str(yard / "bundle"), "ODD": str(yard / "odd.mp4")}
    assert run(["watch", *(names.get(event, event) for event in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_sigterm_closes_open_events(config):
    program = start(config)
    opened = json.loads(program.stdout.readline())
    time.sleep(0.5)
    program.send_signal(signal.SIGTERM)
    events, err = finish(program)
    assert program.returncode == 0, err
    assert [(event["id"], event["state"]) for event in [opened, *events]] == [
        (opened["id"], "open"),
        (opened["id"], "closed"),
    ]
    (row,) = rows(config)
    assert row["id"] == opened["id"] and row["clip"] is not None
    assert "Traceback" not in err


def wait_for_batch(config):
    """Wait until a slow batch is being scored."""
    end_s = time.monotonic() + LONG_S
    while not (config.parent / "slow.begun").exists():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.slow
def test_sigterm_abandons_a_slow_batch(config):
    """The interpreter cannot end while torch computes: the thread would return to an interpreter that is gone."""
    program = start(config, code=SLOW, slow_s=10 * LONG_S)
    opened = json.loads(program.stdout.readline())
    (config.parent / "slow").touch()
    wait_for_batch(config)
    program.send_signal(signal.SIGTERM)
    events, err = finish(program)
    assert program.returncode == 0, err
    assert [(event["id"], event["state"]) for event in events] == [(opened["id"], "closed")]
    assert [row["id"] for row in rows(config)] == [opened["id"]]


@pytest.mark.slow
def test_sigterm_abandons_a_hundred_dead_cameras(config):
    """Cameras that accept a connection and never answer; FFmpeg's own limits would take longer."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}"
        values = json.loads(config.read_text())
        values["cameras"] += [{"name": f"dead{number}", "source": f"{url}/{number}"} for number in range(100)]
        config.write_text(json.dumps(values))
        program = start(config)
        opened = json.loads(program.stdout.readline())
        time.sleep(2)
        program.send_signal(signal.SIGTERM)
        events, err = finish(program)
        assert program.returncode == 0, err
    assert [event["state"] for event in events if event["id"] == opened["id"]] == ["closed"]
    assert opened["id"] in [row["id"] for row in rows(config)]
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_interrupt_ends_the_scoring_of_a_recording(config, yard):
    (config.parent / "slow").touch()
    values = {**json.loads(config.read_text()), "cameras": [{"name": "gate", "source": str(yard / "calm.mp4")}]}
    config.write_text(json.dumps(values))
    program = start(config, "--dry-run", code=SLOW, slow_s=1)  # a batch, of which there are 38
    wait_for_batch(config)
    program.send_signal(signal.SIGINT)
    _, err = finish(program)
    assert program.returncode == 130, err
    assert len((config.parent / "slow.begun").read_text()) < 30
    assert "interrupted" in err and "Traceback" not in err


@pytest.mark.slow
def test_after_a_kill_an_open_event_is_closed_and_sent_once(config):
    program = start(config)
    opened = json.loads(program.stdout.readline())
    time.sleep(0.5)
    program.kill()
    program.wait(LONG_S)
    assert not (config.parent / "events.jsonl").exists()
    program = start(config)
    events = []
    while not any(event["state"] == "closed" for event in events):
        events.append(json.loads(program.stdout.readline()))
    program.send_signal(signal.SIGTERM)
    events += finish(program)[0]
    assert next(event for event in events if event["state"] == "closed")["id"] == opened["id"]
    ids = [row["id"] for row in rows(config)]
    assert ids[0] == opened["id"] and len(ids) == len(set(ids))


@pytest.mark.slow
def test_a_hanging_source_does_not_delay_the_end(config, yard):
    kind = "multipart/x-mixed-replace;boundary=frame"
    with HttpStream(kind, lambda: mjpeg(film(1, anomaly=(5, 20), frames=20), every_s=0.1), hangs=True) as stream:
        values = json.loads(config.read_text())
        values["cameras"] = [{"name": "gate", "source": stream.url, "patience": {"stall_s": 20, "open_s": 20}}]
        config.write_text(json.dumps(values))
        program = start(config)
        json.loads(program.stdout.readline())
        time.sleep(2)
        program.send_signal(signal.SIGTERM)
        _, err = finish(program)
    assert program.returncode == 0, err


def test_two_programs_cannot_share_a_folder(config, capsys):
    program = start(config)
    program.stdout.readline()
    try:
        assert run(["watch", "--config", str(config)]) == 2
        assert "another offnormal watch uses this folder" in capsys.readouterr().err
    finally:
        program.send_signal(signal.SIGTERM)
        finish(program)


@pytest.mark.slow
def test_without_free_file_descriptors_events_continue_and_the_log_stays_short(config):
    """A hundred cameras that never answer hold sockets, of which there can be 64."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}"
        values = json.loads(config.read_text())
        values["cameras"] += [{"name": f"dead{number}", "source": f"{url}/{number}"} for number in range(100)]
        config.write_text(json.dumps(values))
        program = start(config, code=limit + "from offnormal.cli.main import main; main()")
        opened = json.loads(program.stdout.readline())
        time.sleep(15)
        program.send_signal(signal.SIGTERM)
        events, err = finish(program)
    assert program.returncode == 0, err
    assert [event["state"] for event in events if event["id"] == opened["id"]] == ["closed"]
    assert "Too many open files" in err and "Traceback" not in err
    assert len(err.splitlines()) < 4 * len(values["cameras"]), err
