"""Cameras against real servers on loopback: killed, stalled, refused, started again."""

import itertools
import logging
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.errors import VideoError
from offnormal.sources.camera import Camera, Connection
from offnormal.sources.live_reader import NO_TIMEOUTS, CameraOptions, Patience
from offnormal.types import Frame, Gap, Mask
from tests.servers import BOUNDARY, HttpStream, RtspServer, free_port, mjpeg, paced
from tests.video_files import number_in, numbered, write_video

QUICK = Patience(open_s=6, stall_s=1, retry_s=0.1, cap_s=0.5)
LONG_S = 20  # longer than any of this takes
EXACT = Patience(open_s=10, stall_s=5, retry_s=1, cap_s=8, settled_s=20, jitter=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_video(folder / "numbers.mp4", itertools.islice(itertools.cycle(numbered(200)), 800), fps=25)
    published = RtspServer(folder)
    yield published
    published.kill()


@pytest.fixture
def open_camera():
    published = []

    def make(address, **options):
        published.append(Camera("door", address, CameraOptions(**{"patience": QUICK, **options})))
        return published[-1]

    yield make
    for opened in published:
        opened.close()


def take(camera, kind, count=1):
    """Take frames and gaps from a camera until `count` of a kind have arrived."""
    items, deadline_s = [], time.monotonic() + LONG_S
    while sum(isinstance(item, kind) for item in items) < count:
        assert time.monotonic() < deadline_s, (camera.status, items[-3:])
        item = camera.take(0.1)
        if item is not None:
            items.append(item)
    return items


def test_rtsp_yields_frames_with_the_clock_of_the_stream(server, open_camera):
    camera = open_camera(server.url("numbers.mp4", "user:secret@"))
    frames = take(camera, Frame, 30)
    numbers = [number_in(frame.image) for frame in frames]
    assert [frame.index - frames[0].index for frame in frames] == [number - numbers[0] for number in numbers]
    times = [frame.time_s for frame in frames[1:]]  # the first one has no timestamp
    np.testing.assert_allclose(np.diff(times), np.diff(numbers[1:]) / 25, atol=1e-3)
    assert all(abs(frame.utc_s - time.time()) < LONG_S and frame.arrived_s <= time.monotonic() for frame in frames)
    assert (camera.status.state, camera.status.attempts, camera.status.gaps) == ("online", 1, 0)


@pytest.mark.parametrize("trouble", ["kill", "stall"])
@pytest.mark.slow
def test_a_camera_that_dies_or_hangs_returns_after_one_gap(server, open_camera, caplog, trouble):
    caplog.set_level(logging.INFO)
    camera = open_camera(server.url("numbers.mp4", "user:secret@"))
    before = take(camera, Frame, 5)[-1]
    getattr(server, trouble)()
    remaining = take(camera, Gap)
    gap = remaining[-1]
    assert gap.reason.startswith("stalled: no frame for 1 s" if trouble == "stall" else ("ended:", "failed:"))
    assert camera.status.state == ("stalled" if trouble == "stall" else "offline")
    server.kill()
    assert camera.take(0.7) is None  # refused repeatedly, but only one gap
    server.start()
    after = take(camera, Frame)
    assert not any(isinstance(item, Gap) for item in after)
    last = next((item for item in reversed(remaining) if isinstance(item, Frame)), before)
    assert after[0].index > last.index + 1
    assert after[0].time_s > last.time_s
    assert after[0].arrived_s >= gap.arrived_s
    assert (camera.status.state, camera.status.gaps) == ("online", 1)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings[-1].endswith("online again") and "online" not in warnings[0]
    assert "secret" not in caplog.text
    assert "secret" not in f"{camera.status} {gap}"


def test_an_unreachable_camera_is_logged_once(open_camera, caplog):
    camera = open_camera(f"rtsp://user:secret@127.0.0.1:{free_port()}/x")
    assert camera.take(2) is None
    assert camera.status.attempts >= 3
    assert camera.status.gaps == 0
    assert "refused" in camera.status.reason
    assert caplog.text.count("refused") == 1
    assert "again" not in caplog.text.replace("reconnecting", "")
    assert "secret" not in caplog.text + camera.status.reason


@pytest.mark.slow
def test_closing_returns_quickly_while_a_read_hangs(open_camera):
    with HttpStream(
        f"multipart/x-mixed-replace;boundary={BOUNDARY}", lambda: mjpeg(numbered(20), every_s=0.01), hangs=True
    ) as stream:
        camera = open_camera(stream.url, patience=Patience(open_s=2, stall_s=2))
        take(camera, Frame, 19)
        time.sleep(0.3)  # the reader now hangs
        reader = camera._reader
        assert reader.is_alive()
        start = time.monotonic()
        camera.close()
        assert time.monotonic() - start < 2
        assert camera.take(5) is None
        assert camera.status.hung_readers == 1
        reader.join(LONG_S)
        assert not reader.is_alive()
        assert camera.status.hung_readers == 0


HANGS = """
import atexit, sys, threading
atexit.register(lambda: print(sum(thread.name.startswith("read ") for thread in threading.enumerate())))  # runs last
from offnormal.sources.camera import Camera
from offnormal.sources.live_reader import CameraOptions
from offnormal.sources.live_reader import Patience
for name in range(4):
    camera = Camera(str(name), sys.argv[1], CameraOptions(patience=Patience(open_s=2, stall_s=2)))
    assert camera.take(20) is not None
    if name % 2:
        camera.close()
"""


@pytest.mark.slow
def test_a_program_exits_cleanly_while_reads_hang():
    kind = f"multipart/x-mixed-replace;boundary={BOUNDARY}"
    with HttpStream(kind, lambda: mjpeg(numbered(20), every_s=0.01), hangs=True) as stream:
        done = subprocess.run([sys.executable, "-c", HANGS, stream.url], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"0", b"")


@pytest.mark.slow
def test_a_hung_camera_delays_no_other(server, open_camera):
    content = f"multipart/x-mixed-replace;boundary={BOUNDARY}"
    with HttpStream(content, list, hangs=True) as silent:
        dead, alive = open_camera(silent.url), open_camera(server.url("numbers.mp4"))
        waiting = threading.Thread(target=dead.take, args=(LONG_S,), daemon=True)
        waiting.start()
        assert len(take(alive, Frame, 30)) == 30
        assert dead.status.delivered == 0
        dead.close()
        waiting.join(LONG_S)
        assert not waiting.is_alive()


def test_mjpeg_over_http_has_arrival_times(open_camera):
    sent = numbered(40)
    with HttpStream(f"multipart/x-mixed-replace;boundary={BOUNDARY}", lambda: mjpeg(sent, every_s=0.1)) as stream:
        camera = open_camera(stream.url)
        items = take(camera, Frame, 12)
        times = [frame.time_s for frame in items]
        arrivals = [frame.arrived_s - items[0].arrived_s for frame in items]
        np.testing.assert_allclose(np.subtract(times, times[0]), arrivals, atol=1e-6)
        assert times[-1] - times[4] > 0.5  # FFmpeg would state 0.28: it assumes 25/s
        gap = take(camera, Gap)[-1]
        assert gap.reason.startswith(("ended:", "failed:"))
        assert number_in(take(camera, Frame)[0].image) <= 5  # served from its start again


def test_a_recording_without_a_clock_is_refused_with_advice(open_camera, tmp_path):
    camera = open_camera(str(write_video(tmp_path / "bare.h264", numbered(4))))
    with pytest.raises(VideoError, match=r"has no clock, which events need; .*-c copy bare\.mp4"):
        camera.take(LONG_S)
    assert camera.has_ended and camera.take(0) is None


def test_mpeg_ts_over_http_keeps_its_times(open_camera, tmp_path):
    content = write_video(tmp_path / "x.ts", numbered(100), fps=25).read_bytes()
    with HttpStream("video/mp2t", lambda: paced(content, pieces=100, every_s=0.03)) as stream:
        items = take(open_camera(stream.url), Frame, 40)
    frames = [item for item in items if isinstance(item, Frame)]
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == sorted(numbers)
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), np.diff(numbers) / 25, atol=2e-3)


@pytest.mark.parametrize("fps", [None, 5])
def test_a_file_is_read_completely_as_fast_as_the_consumer(open_camera, tmp_path, fps):
    path = write_video(tmp_path / "clip.mp4", numbered(100), fps=25)
    camera = open_camera(str(path), fps=fps)
    items = []
    for frame in camera:
        time.sleep(0.001)
        items.append(frame)
    step = 5 if fps else 1
    assert [number_in(frame.image) for frame in items] == list(range(0, 100, step))
    np.testing.assert_allclose([frame.time_s for frame in items], np.arange(0, 100, step) / 25, atol=1e-6)
    assert [frame.index for frame in items] == list(range(len(items)))
    assert camera.has_ended
    assert (camera.status.dropped, camera.status.decoded, camera.status.delivered) == (0, 100, len(items))


def test_a_file_in_realtime_drops_late_frames(open_camera, tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered(50), fps=25)
    camera = open_camera(str(path), realtime=True)
    first = camera.take(LONG_S)
    time.sleep(1.5)
    remaining = list(camera)
    items = [first, *remaining]
    assert items[-1].arrived_s - first.arrived_s == pytest.approx(49 / 25, abs=0.3)
    assert camera.status.dropped > 0
    assert len(items) == 50 - camera.status.dropped
    assert [frame.index for frame in items] == [number_in(frame.image) for frame in items]
    assert all(frame.utc_s is not None for frame in items)


def test_a_file_that_is_not_a_video_ends_with_an_error(open_camera, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    camera = open_camera(str(path))
    with pytest.raises(VideoError, match="not a readable video"):
        camera.take(LONG_S)
    assert camera.has_ended
    assert camera.take(0) is None


def test_masks_are_painted_before_a_frame_is_delivered(open_camera, tmp_path):
    path = write_video(tmp_path / "clip.mp4", [np.full((48, 64, 3), 200, np.uint8)] * 5, fps=25)
    mask = Mask(polygons=(((0, 0), (0.5, 0), (0.5, 1), (0, 1)),))
    for frame in open_camera(str(path), mask=mask):
        assert (frame.image[:, :31] == 0).all()
        assert (frame.image[:, 34:] > 150).all()


def test_an_error_of_the_reader_is_logged_and_the_camera_continues(open_camera, monkeypatch, caplog):
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise ZeroDivisionError("an error in the program")

    monkeypatch.setattr("offnormal.sources.live_reader.stream_images", broken)
    camera = open_camera("rtsp://127.0.0.1/x")
    assert camera.take(1) is None
    assert len(calls) >= 2
    assert "ZeroDivisionError" in caplog.text


def test_local_cameras_and_transports_are_opened_with_their_options(open_camera, monkeypatch):
    calls = []

    def remember(target, **options):
        calls.append((target, options))
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("av.open", remember)
    open_camera("/dev/video3", device={"video_size": "640x480"}).take(0.3)
    target, options = calls[0]
    assert (target, options["format"], options["container_options"]) == (
        "/dev/video3",
        "v4l2",
        {"video_size": "640x480"},
    )
    calls.clear()
    open_camera("rtsp://cam/1", transport="udp").take(0.3)
    assert calls[0][1]["container_options"]["rtsp_transport"] == "udp"
    assert calls[0][1]["timeout"] == (QUICK.open_s, QUICK.stall_s)


def connection(patience=EXACT, start=100.0):
    return Connection(patience, start, lambda: 0.5)


def test_a_connection_is_online_with_the_first_frame():
    link = connection()
    assert (link.state, link.step(100)) == ("connecting", "connect")
    assert (link.step(109), link.next_step_s) == ("wait", 110)
    link.record_frame(109)
    assert (link.state, link.since_s, link.next_step_s) == ("online", 109, 114)


def test_a_stall_is_detected_at_its_deadline_and_retried():
    link = connection()
    link.step(100)
    for now_s in (101, 105, 109):
        link.record_frame(now_s)
    assert link.step(113.9) == "wait"
    assert (link.step(114), link.state, link.next_step_s) == ("abandon", "stalled", 115)
    assert "no frame for 5 s" in link.reason
    assert link.step(114.9) == "wait"
    assert (link.step(115), link.state, link.attempts) == ("connect", "connecting", 2)


def test_a_source_without_a_first_frame_is_abandoned():
    link = connection()
    link.step(100)
    assert link.step(110) == "abandon"
    assert "no frame for 10 s" in link.reason


def test_waits_grow_to_the_cap_and_restart_after_a_stable_time():
    link, now_s, waits = connection(), 100.0, []
    for _ in range(6):
        assert link.step(now_s) == "connect"
        link.record_end(now_s, "refused")
        waits.append(link.next_step_s - now_s)
        now_s = link.next_step_s
    assert waits == [1, 2, 4, 8, 8, 8]
    link.step(now_s)
    link.record_frame(now_s)
    link.record_end(now_s + 19, "ended")  # online, but not for long
    assert link.next_step_s - (now_s + 19) == 8
    link.step(now_s + 27)
    link.record_frame(now_s + 27)
    link.record_end(now_s + 47, "ended")
    assert link.next_step_s - (now_s + 47) == 1


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_is_within_the_cap_and_the_jitter(failures, chance, jitter):
    delay = Patience(retry_s=0.5, cap_s=30, jitter=jitter).delay_s(failures, chance)
    grown = min(30, 0.5 * 2 ** min(failures - 1, 64))
    assert grown * (1 - jitter) <= delay <= grown


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["frame", "failed", "nothing"])), max_size=60))
def test_a_connection_retries_forever_and_never_connects_twice(happenings):
    link, now_s, connected = connection(), 100.0, False
    for passed, happening in happenings:
        now_s += passed
        step = link.step(now_s)
        assert not (step == "connect" and connected)
        assert not (step == "abandon" and not connected)
        connected = step == "connect" or (connected and step != "abandon")
        if connected and happening == "frame":
            link.record_frame(now_s)
            assert link.state == "online"
        elif connected and happening == "failed":
            link.record_end(now_s, "broke")
            connected = False
            assert link.state == "offline"
        assert link.next_step_s <= now_s + 10
    now_s += 10
    assert link.step(now_s) != "wait" or link.state == "connecting"


def test_a_connection_without_timeouts_waits_forever():
    link = connection(NO_TIMEOUTS)
    link.step(100)
    link.record_frame(101)
    assert link.step(1e9) == "wait"


@pytest.mark.parametrize("wrong", [{"stall_s": 0}, {"cap_s": -1}, {"jitter": 1.5}, {"open_s": float("nan")}])
def test_invalid_timeouts_are_refused(wrong):
    with pytest.raises(ValueError, match=r"greater than|less than"):
        Patience(**wrong)
