from __future__ import annotations

import errno
import shutil
import subprocess
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from offnormal.drawing.overlay import scale_for
from offnormal.errors import DataError, OffnormalError, UsageError
from offnormal.recording import clips
from offnormal.recording.annotate import AnnotatedVideo

GRAY = np.full((120, 480, 3), 90, np.uint8)


def peak(height=120, width=480, value=10.0):
    """A map that is high in its right third only."""
    field = np.zeros((height, width), np.float32)
    field[:, 2 * width // 3 :] = value
    return field


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, frames


def only_picture(path, *, added=None, **settings):
    """The one frame of a video of one gray picture, without its panel."""
    with AnnotatedVideo(path, 25, GRAY.shape[:2], **settings) as video:
        video.add(GRAY, **(added or {}))
    return read(path)[2][0][1][:120].astype(int)


def test_the_frames_come_back_as_h264_in_even_sizes(tmp_path):
    path = tmp_path / "new folder/ä b%d:1.mp4"
    picture = np.zeros((121, 481, 3), np.uint8)
    picture[:, :240], picture[:, 240:] = (200, 40, 40), (30, 60, 190)
    with AnnotatedVideo(str(path), 25, (121, 481)) as video:
        assert not path.exists()
        for _ in range(7):
            video.add(picture)
    codec, pixels, frames = read(path)
    assert (codec, pixels, len(frames), video.frames) == ("h264", "yuv420p", 7, 7)
    assert [when for when, _ in frames] == pytest.approx(np.arange(7) / 25)
    height, width, _ = frames[0][1].shape
    assert height % 2 == 0 and width == 482
    with av.open(str(path)) as container:
        shown = next(container.decode(video=0)).reformat(format="rgb24", src_colorspace=1).to_ndarray()
    assert shown[60, 100] == pytest.approx((200, 40, 40), abs=4), "colors are those given"
    assert shown[60, 400] == pytest.approx((30, 60, 190), abs=4)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_browser_can_start_before_the_end_is_there(tmp_path):
    with AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        video.add(GRAY)
    stored = (tmp_path / "x.mp4").read_bytes()
    assert 0 < stored.index(b"moov") < stored.index(b"mdat")


def test_frames_are_shown_at_their_own_times(tmp_path):
    path = tmp_path / "x.mp4"
    with AnnotatedVideo(path, 10, (120, 480)) as video:
        for when in (5.0, 5.2, 7.5, 7.5, 7.0, None, 9.0):
            video.add(GRAY, time_s=when)
    times = [when for when, _ in read(path)[2]]
    assert times == pytest.approx([0, 0.2, 2.5, 2.6, 2.7, 2.8, 4.0]), "what does not rise comes a frame later"


@pytest.mark.parametrize(("size", "factor"), [((64, 128), 4), ((64, 479), 2), ((270, 480), 1), ((300, 1920), 1)])
def test_small_pictures_are_enlarged_by_a_whole_factor(tmp_path, size, factor):
    picture = np.full((*size, 3), (120, 80, 60), np.uint8)
    with AnnotatedVideo(tmp_path / "x.mp4", 25, size) as video:
        video.add(picture)
    frame = read(tmp_path / "x.mp4")[2][0][1]
    assert frame.shape[1] == size[1] * factor and size[0] * factor < frame.shape[0] < size[0] * factor + 200


def test_heat_lies_over_the_picture_only_above_the_pixel_threshold(tmp_path):
    def seen(value):
        added = {"map": peak(value=value)}
        return only_picture(tmp_path / "x.mp4", added=added, pixel_threshold=5.0)

    quiet, loud = seen(4.9), seen(9.0)
    assert np.abs(quiet - 90).max() < 6
    assert np.abs(loud[:, :300] - 90).max() < 12 and np.abs(loud[10:110, 340:470] - 90).max(axis=2).min() > 40


def test_maps_of_any_size_lie_over_the_whole_picture(tmp_path):
    fine = only_picture(tmp_path / "x.mp4", added={"map": peak()}, pixel_threshold=5.0)
    coarse = only_picture(tmp_path / "x.mp4", added={"map": peak(12, 48)}, pixel_threshold=5.0)
    apart = np.abs(fine - coarse).max(axis=(0, 2))
    assert apart[:300].max() < 12 and apart[345:].max() < 12


def test_without_a_pixel_threshold_the_scale_must_be_given(tmp_path):
    low, high = scale_for(None, [peak()])
    heated = only_picture(tmp_path / "x.mp4", added={"map": peak()}, map_range=(low, high))
    assert np.abs(heated[60, 400] - 90).max() > 40
    with pytest.raises(UsageError, match="a map without a scale for its colors: give pixel_threshold, or map_range"):
        only_picture(tmp_path / "y.mp4", added={"map": peak()})
    assert not (tmp_path / "y.mp4").exists()


def test_an_anomalous_frame_has_a_red_border(tmp_path):
    red = only_picture(tmp_path / "x.mp4", added={"anomalous": True})
    for edge in (red[1], red[118], red[:, 1], red[:, 478]):
        assert (edge[5:-5, 0] > 180).all() and (edge[5:-5, 1] < 110).all()
    assert np.abs(red[10:110, 10:470] - 90).max() < 8
    for verdict in (False, None):
        assert np.abs(only_picture(tmp_path / "x.mp4", added={"anomalous": verdict})[:110] - 90).max() < 8


def test_an_error_in_the_block_leaves_the_older_file(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), AnnotatedVideo(path, 25, (120, 480)) as video:
        video.add(GRAY)
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_no_frame_makes_no_video(tmp_path):
    with pytest.raises(DataError, match="no frame was added"), AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)):
        pass
    assert not list(tmp_path.iterdir())


def failing(number):
    def fail(*args, **kwargs):
        raise av.error.FFmpegError(number, "said by the encoder")

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; nothing was changed"),
        (errno.EIO, r"the video cannot be written \(said by the encoder\); try another place"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_errors_while_writing_are_ours(tmp_path, number, message, early):
    with pytest.raises(OffnormalError, match=message), AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        video.add(GRAY)
        video._file._stream = type("Broken", (), {"encode": failing(number)})()
        if early:
            video.add(GRAY)
    assert not list(tmp_path.iterdir())


def test_another_encoder_serves_where_the_first_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "ENCODERS", ("not_there", "mpeg4"))
    with AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        for frame in range(5):
            video.add(GRAY, time_s=frame / 10)
    assert video.encoder == "mpeg4" and len(read(tmp_path / "x.mp4")[2]) == 5
    monkeypatch.setattr(clips, "ENCODERS", ("not_there",))
    with pytest.raises(OffnormalError, match="was built without not_there; install its wheel"):
        AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, "both must be positive"),
        ({"fps": float("nan")}, "both must be positive"),
        ({"size": (0, 5)}, "both must be positive"),
        ({"score_range": (1, 1)}, "score_range from 1 to 1: expected low < high"),
        ({"map_range": (1, float("inf"))}, "map_range from 1 to inf"),
    ],
)
def test_settings_that_make_no_video(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        AnnotatedVideo(tmp_path / "x.mp4", **{"fps": 25, "size": (120, 480), **settings})


@pytest.mark.parametrize(
    ("image", "map", "message"),
    [
        (GRAY[:-1], None, r"frame 0 of shape \(119, 480, 3\) and uint8, expected \(120, 480, 3\)"),
        (GRAY.astype(float), None, "float64"),
        (GRAY, np.full((2, 2), np.nan), r"map of shape \(2, 2\) at frame 0: expected \(h, w\), all finite"),
        (GRAY, np.zeros(3), r"map of shape \(3,\)"),
    ],
)
def test_wrong_frames_are_named(tmp_path, image, map, message):
    with (
        pytest.raises(DataError, match=message),
        AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480), pixel_threshold=1.0) as video,
    ):
        video.add(image, map=map)


def test_frames_are_added_inside_the_block(tmp_path):
    video = AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480))
    with pytest.raises(UsageError, match="inside its `with` block"):
        video.add(GRAY)
    with video:
        video.add(GRAY)
    with pytest.raises(UsageError, match="inside its `with` block"):
        video.add(GRAY)


def test_any_frame_rate(tmp_path):
    for fps in (0.2, 1, 29.97, Fraction(30000, 1001), 240):
        with AnnotatedVideo(tmp_path / "x.mp4", fps, (120, 480)) as video:
            for _ in range(3):
                video.add(GRAY)
        times = [when for when, _ in read(tmp_path / "x.mp4")[2]]
        assert times == pytest.approx([0, 1 / fps, 2 / fps], abs=1e-4)


@pytest.mark.slow
def test_chromium_plays_it(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    with AnnotatedVideo(tmp_path / "x.mp4", 25, (64, 128), threshold=2.0) as video:
        for frame in range(30):
            video.add(np.full((64, 128, 3), 8 * frame, np.uint8), frame / 10, anomalous=frame > 20)
    page = tmp_path / "page.html"
    page.write_text(
        "<video src='x.mp4' muted></video><p></p><script>const v = document.querySelector('video');"
        "const say = () => document.querySelector('p').textContent = `ready ${v.readyState} ${v.videoWidth}x"
        "${v.videoHeight} ${v.duration} error ${v.error && v.error.message}`;"
        "v.oncanplaythrough = v.onerror = say; v.load();</script>"
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
               "--virtual-time-budget=8000", "--dump-dom", page.as_uri()]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    said = done.stdout.partition("<p>")[2].partition("</p>")[0]
    assert said.startswith("ready ") and said.endswith("error null"), (said, time.monotonic() - started, done.stderr)
    assert int(said.split()[1]) >= 2 and said.split()[2].startswith("512x")
