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
LONG_S = 20  # more than any of this takes
EXACT = Patience(open_s=10, stall_s=5, retry_s=1, cap_s=8, settled_s=20, jitter=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_video(folder / "numbers.mp4", itertools.islice(itertools.cycle(numbered(200)), 800), fps=25)
    made = RtspServer(folder)
    yield made
    made.kill()


@pytest.fixture
def camera():
    made = []

    def make(address, **options):
        made.append(Camera("door", address, CameraOptions(**{"patience": QUICK, **options})))
        return made[-1]

    yield make
    for one in made:
        one.close()


def take(camera, wanted, count=1):
    """What a camera gives until `count` things of a kind have come."""
    found, until = [], time.monotonic() + LONG_S
    while sum(isinstance(one, wanted) for one in found) < count:
        assert time.monotonic() < until, (camera.status, found[-3:])
        one = camera.take(0.1)
        if one is not None:
            found.append(one)
    return found


def test_rtsp_gives_frames_with_the_clock_of_the_stream(server, camera):
    it = camera(server.url("numbers.mp4", "user:secret@"))
    frames = take(it, Frame, 30)
    numbers = [number_in(frame.image) for frame in frames]
    assert [frame.index - frames[0].index for frame in frames] == [number - numbers[0] for number in numbers]
    times = [frame.time_s for frame in frames[1:]]  # the first one comes without a stamp
    np.testing.assert_allclose(np.diff(times), np.diff(numbers[1:]) / 25, atol=1e-3)
    assert all(abs(frame.utc_s - time.time()) < LONG_S and frame.arrived_s <= time.monotonic() for frame in frames)
    assert (it.status.state, it.status.attempts, it.status.gaps) == ("online", 1, 0)


@pytest.mark.parametrize("trouble", ["kill", "stall"])
@pytest.mark.slow
def test_a_camera_that_dies_or_hangs_comes_back_behind_one_gap(server, camera, caplog, trouble):
    caplog.set_level(logging.INFO)
    it = camera(server.url("numbers.mp4", "user:secret@"))
    before = take(it, Frame, 5)[-1]
    getattr(server, trouble)()
    rest = take(it, Gap)
    gap = rest[-1]
    assert gap.reason.startswith("stalled: no frame for 1 s" if trouble == "stall" else ("ended:", "failed:"))
    assert it.status.state == ("stalled" if trouble == "stall" else "offline")
    server.kill()
    assert it.take(0.7) is None  # refused again and again: one gap is all there is
    server.start()
    after = take(it, Frame)
    assert not any(isinstance(one, Gap) for one in after)
    last = next((one for one in reversed(rest) if isinstance(one, Frame)), before)
    assert after[0].index > last.index + 1
    assert after[0].time_s > last.time_s
    assert after[0].arrived_s >= gap.arrived_s
    assert (it.status.state, it.status.gaps) == ("online", 1)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told[-1].endswith("online again") and "online" not in told[0]
    assert "secret" not in caplog.text
    assert "secret" not in f"{it.status} {gap}"


def test_a_camera_that_was_never_there_gives_nothing_and_says_so_once(camera, caplog):
    it = camera(f"rtsp://user:secret@127.0.0.1:{free_port()}/x")
    assert it.take(2) is None
    assert it.status.attempts >= 3
    assert it.status.gaps == 0
    assert "refused" in it.status.reason
    assert caplog.text.count("refused") == 1
    assert "again" not in caplog.text.replace("reconnecting", "")
    assert "secret" not in caplog.text + it.status.reason


@pytest.mark.slow
def test_closing_returns_soon_while_a_read_hangs_and_the_socket_is_closed_later(camera):
    with HttpStream(
        f"multipart/x-mixed-replace;boundary={BOUNDARY}", lambda: mjpeg(numbered(20), every_s=0.01), hangs=True
    ) as stream:
        it = camera(stream.url, patience=Patience(open_s=2, stall_s=2))
        take(it, Frame, 19)
        time.sleep(0.3)  # the reader is now where nothing comes
        reader = it._reader
        assert reader.is_alive()
        start = time.monotonic()
        it.close()
        assert time.monotonic() - start < 2
        assert it.take(5) is None
        assert it.status.hung_readers == 1
        reader.join(LONG_S)
        assert not reader.is_alive()
        assert it.status.hung_readers == 0


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
def test_a_program_ends_well_while_reads_hang():
    kind = f"multipart/x-mixed-replace;boundary={BOUNDARY}"
    with HttpStream(kind, lambda: mjpeg(numbered(20), every_s=0.01), hangs=True) as stream:
        done = subprocess.run([sys.executable, "-c", HANGS, stream.url], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"0", b"")


@pytest.mark.slow
def test_one_camera_that_hangs_delays_no_other(server, camera):
    content = f"multipart/x-mixed-replace;boundary={BOUNDARY}"
    with HttpStream(content, list, hangs=True) as silent:
        dead, alive = camera(silent.url), camera(server.url("numbers.mp4"))
        waiting = threading.Thread(target=dead.take, args=(LONG_S,), daemon=True)
        waiting.start()
        assert len(take(alive, Frame, 30)) == 30
        assert dead.status.delivered == 0
        dead.close()
        waiting.join(LONG_S)
        assert not waiting.is_alive()


def test_mjpeg_over_http_has_the_times_of_arrival(camera):
    shown = numbered(40)
    with HttpStream(f"multipart/x-mixed-replace;boundary={BOUNDARY}", lambda: mjpeg(shown, every_s=0.1)) as stream:
        it = camera(stream.url)
        found = take(it, Frame, 12)
        times = [frame.time_s for frame in found]
        arrivals = [frame.arrived_s - found[0].arrived_s for frame in found]
        np.testing.assert_allclose(np.subtract(times, times[0]), arrivals, atol=1e-6)
        assert times[-1] - times[4] > 0.5  # FFmpeg would say 0.28: it counts 25 a second
        gap = take(it, Gap)[-1]
        assert gap.reason.startswith(("ended:", "failed:"))
        assert number_in(take(it, Frame)[0].image) <= 5  # served from its start again


def test_a_recording_without_a_clock_is_refused_with_what_to_do(camera, tmp_path):
    it = camera(str(write_video(tmp_path / "bare.h264", numbered(4))))
    with pytest.raises(VideoError, match=r"no clock, which events need; .*-c copy bare\.mp4"):
        it.take(LONG_S)
    assert it.has_ended and it.take(0) is None


def test_mpeg_ts_over_http(camera, tmp_path):
    content = write_video(tmp_path / "x.ts", numbered(100), fps=25).read_bytes()
    with HttpStream("video/mp2t", lambda: paced(content, pieces=100, every_s=0.03)) as stream:
        found = take(camera(stream.url), Frame, 40)
    frames = [one for one in found if isinstance(one, Frame)]
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == sorted(numbers)
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), np.diff(numbers) / 25, atol=2e-3)


@pytest.mark.parametrize("fps", [None, 5])
def test_a_file_is_read_whole_and_as_fast_as_it_is_taken(camera, tmp_path, fps):
    path = write_video(tmp_path / "clip.mp4", numbered(100), fps=25)
    it = camera(str(path), fps=fps)
    found = []
    for frame in it:
        time.sleep(0.001)
        found.append(frame)
    step = 5 if fps else 1
    assert [number_in(frame.image) for frame in found] == list(range(0, 100, step))
    np.testing.assert_allclose([frame.time_s for frame in found], np.arange(0, 100, step) / 25, atol=1e-6)
    assert [frame.index for frame in found] == list(range(len(found)))
    assert it.has_ended
    assert (it.status.dropped, it.status.decoded, it.status.delivered) == (0, 100, len(found))


def test_a_file_in_realtime_takes_its_time_and_drops_what_comes_too_late(camera, tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered(50), fps=25)
    it = camera(str(path), realtime=True)
    first = it.take(LONG_S)
    time.sleep(1.5)
    rest = list(it)
    found = [first, *rest]
    assert found[-1].arrived_s - first.arrived_s == pytest.approx(49 / 25, abs=0.3)
    assert it.status.dropped > 0
    assert len(found) == 50 - it.status.dropped
    assert [frame.index for frame in found] == [number_in(frame.image) for frame in found]
    assert all(frame.utc_s is not None for frame in found)


def test_a_file_that_is_no_video_ends_with_an_error(camera, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"nothing of the kind")
    it = camera(str(path))
    with pytest.raises(VideoError, match="not a video"):
        it.take(LONG_S)
    assert it.has_ended
    assert it.take(0) is None


def test_masks_are_painted_before_a_frame_is_seen(camera, tmp_path):
    path = write_video(tmp_path / "clip.mp4", [np.full((48, 64, 3), 200, np.uint8)] * 5, fps=25)
    mask = Mask(polygons=(((0, 0), (0.5, 0), (0.5, 1), (0, 1)),))
    for frame in camera(str(path), mask=mask):
        assert (frame.image[:, :31] == 0).all()
        assert (frame.image[:, 34:] > 150).all()


def test_a_fault_of_the_reader_is_told_and_does_not_end_the_camera(camera, monkeypatch, caplog):
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise ZeroDivisionError("a fault of the program")

    monkeypatch.setattr("offnormal.sources.live_reader.stream_images", broken)
    it = camera("rtsp://127.0.0.1/x")
    assert it.take(1) is None
    assert len(calls) >= 2
    assert "ZeroDivisionError" in caplog.text


def test_local_cameras_and_transports_are_opened_as_asked(camera, monkeypatch):
    asked = []

    def remember(target, **how):
        asked.append((target, how))
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("av.open", remember)
    camera("/dev/video3", device={"video_size": "640x480"}).take(0.3)
    target, how = asked[0]
    assert (target, how["format"], how["container_options"]) == ("/dev/video3", "v4l2", {"video_size": "640x480"})
    asked.clear()
    camera("rtsp://cam/1", transport="udp").take(0.3)
    assert asked[0][1]["container_options"]["rtsp_transport"] == "udp"
    assert asked[0][1]["timeout"] == (QUICK.open_s, QUICK.stall_s)


def connection(patience=EXACT, start=100.0):
    return Connection(patience, start, lambda: 0.5)


def test_it_connects_at_once_and_is_online_with_the_first_frame():
    it = connection()
    assert (it.state, it.step(100)) == ("connecting", "connect")
    assert (it.step(109), it.next_step_s) == ("wait", 110)
    it.record_frame(109)
    assert (it.state, it.since_s, it.next_step_s) == ("online", 109, 114)


def test_a_stall_is_noticed_at_its_deadline_and_tried_again():
    it = connection()
    it.step(100)
    for now in (101, 105, 109):
        it.record_frame(now)
    assert it.step(113.9) == "wait"
    assert (it.step(114), it.state, it.next_step_s) == ("abandon", "stalled", 115)
    assert "no frame for 5 s" in it.reason
    assert it.step(114.9) == "wait"
    assert (it.step(115), it.state, it.attempts) == ("connect", "connecting", 2)


def test_a_source_that_never_gives_a_frame_is_abandoned_too():
    it = connection()
    it.step(100)
    assert it.step(110) == "abandon"
    assert "no frame for 10 s" in it.reason


def test_waits_grow_to_the_cap_and_begin_anew_once_it_was_settled():
    it, now, waits = connection(), 100.0, []
    for _ in range(6):
        assert it.step(now) == "connect"
        it.record_end(now, "refused")
        waits.append(it.next_step_s - now)
        now = it.next_step_s
    assert waits == [1, 2, 4, 8, 8, 8]
    it.step(now)
    it.record_frame(now)
    it.record_end(now + 19, "ended")  # online, but not for long
    assert it.next_step_s - (now + 19) == 8
    it.step(now + 27)
    it.record_frame(now + 27)
    it.record_end(now + 47, "ended")
    assert it.next_step_s - (now + 47) == 1


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_lies_within_the_cap_and_what_chance_may_take_off(failures, chance, jitter):
    delay = Patience(retry_s=0.5, cap_s=30, jitter=jitter).delay_s(failures, chance)
    grown = min(30, 0.5 * 2 ** min(failures - 1, 64))
    assert grown * (1 - jitter) <= delay <= grown


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["frame", "failed", "nothing"])), max_size=60))
def test_it_never_gives_up_and_never_has_two_connections(happenings):
    it, now, connected = connection(), 100.0, False
    for passed, what in happenings:
        now += passed
        step = it.step(now)
        assert not (step == "connect" and connected)
        assert not (step == "abandon" and not connected)
        connected = step == "connect" or (connected and step != "abandon")
        if connected and what == "frame":
            it.record_frame(now)
            assert it.state == "online"
        elif connected and what == "failed":
            it.record_end(now, "broke")
            connected = False
            assert it.state == "offline"
        assert it.next_step_s <= now + 10
    now += 10
    assert it.step(now) != "wait" or it.state == "connecting"


def test_a_patient_one_waits_for_ever():
    it = connection(NO_TIMEOUTS)
    it.step(100)
    it.record_frame(101)
    assert it.step(1e9) == "wait"


@pytest.mark.parametrize("wrong", [{"stall_s": 0}, {"cap_s": -1}, {"jitter": 1.5}, {"open_s": float("nan")}])
def test_senseless_times_are_refused(wrong):
    with pytest.raises(ValueError, match=r"greater than|less than"):
        Patience(**wrong)
