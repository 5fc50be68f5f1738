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
    """A map that is high only in its right third."""
    field = np.zeros((height, width), np.float32)
    field[:, 2 * width // 3 :] = value
    return field


def read_video(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, frames


def draw_one_frame(path, *, frame_options=None, **settings):
    """Return the only frame of a video of one gray image, without its panel."""
    with AnnotatedVideo(path, 25, GRAY.shape[:2], **settings) as video:
        video.add(GRAY, **(frame_options or {}))
    return read_video(path)[2][0][1][:120].astype(int)


def test_frames_are_written_as_h264_in_even_sizes(tmp_path):
    path = tmp_path / "new folder/ä b%d:1.mp4"
    image = np.zeros((121, 481, 3), np.uint8)
    image[:, :240], image[:, 240:] = (200, 40, 40), (30, 60, 190)
    with AnnotatedVideo(str(path), 25, (121, 481)) as video:
        assert not path.exists()
        for _ in range(7):
            video.add(image)
    codec, pixels, frames = read_video(path)
    assert (codec, pixels, len(frames), video.frames) == ("h264", "yuv420p", 7, 7)
    assert [time_s for time_s, _ in frames] == pytest.approx(np.arange(7) / 25)
    height, width, _ = frames[0][1].shape
    assert height % 2 == 0 and width == 482
    with av.open(str(path)) as container:
        rgb = next(container.decode(video=0)).reformat(format="rgb24", src_colorspace=1).to_ndarray()
    assert rgb[60, 100] == pytest.approx((200, 40, 40), abs=4), "colors are unchanged"
    assert rgb[60, 400] == pytest.approx((30, 60, 190), abs=4)
    assert [file_path.name for file_path in path.parent.iterdir()] == [path.name]


def test_a_browser_can_start_before_the_download_ends(tmp_path):
    with AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        video.add(GRAY)
    stored = (tmp_path / "x.mp4").read_bytes()
    assert 0 < stored.index(b"moov") < stored.index(b"mdat")


def test_frames_are_shown_at_their_own_times(tmp_path):
    path = tmp_path / "x.mp4"
    with AnnotatedVideo(path, 10, (120, 480)) as video:
        for time_s in (5.0, 5.2, 7.5, 7.5, 7.0, None, 9.0):
            video.add(GRAY, time_s=time_s)
    times = [time_s for time_s, _ in read_video(path)[2]]
    assert times == pytest.approx([0, 0.2, 2.5, 2.6, 2.7, 2.8, 4.0]), "a time that does not rise is one frame later"


@pytest.mark.parametrize(("size", "factor"), [((64, 128), 4), ((64, 479), 2), ((270, 480), 1), ((300, 1920), 1)])
def test_small_images_are_enlarged_by_an_integer_factor(tmp_path, size, factor):
    image = np.full((*size, 3), (120, 80, 60), np.uint8)
    with AnnotatedVideo(tmp_path / "x.mp4", 25, size) as video:
        video.add(image)
    frame = read_video(tmp_path / "x.mp4")[2][0][1]
    assert frame.shape[1] == size[1] * factor and size[0] * factor < frame.shape[0] < size[0] * factor + 200


def test_the_heat_map_covers_only_pixels_above_the_pixel_threshold(tmp_path):
    def draw(value):
        frame_options = {"map": peak(value=value)}
        return draw_one_frame(tmp_path / "x.mp4", frame_options=frame_options, pixel_threshold=5.0)

    quiet, loud = draw(4.9), draw(9.0)
    assert np.abs(quiet - 90).max() < 6
    assert np.abs(loud[:, :300] - 90).max() < 12 and np.abs(loud[10:110, 340:470] - 90).max(axis=2).min() > 40


def test_maps_of_any_size_cover_the_whole_image(tmp_path):
    fine = draw_one_frame(tmp_path / "x.mp4", frame_options={"map": peak()}, pixel_threshold=5.0)
    coarse = draw_one_frame(tmp_path / "x.mp4", frame_options={"map": peak(12, 48)}, pixel_threshold=5.0)
    apart = np.abs(fine - coarse).max(axis=(0, 2))
    assert apart[:300].max() < 12 and apart[345:].max() < 12


def test_without_a_pixel_threshold_a_map_needs_a_color_scale(tmp_path):
    low, high = scale_for(None, [peak()])
    heated = draw_one_frame(tmp_path / "x.mp4", frame_options={"map": peak()}, map_range=(low, high))
    assert np.abs(heated[60, 400] - 90).max() > 40
    with pytest.raises(UsageError, match="a map without a color scale; pass pixel_threshold, or map_range"):
        draw_one_frame(tmp_path / "y.mp4", frame_options={"map": peak()})
    assert not (tmp_path / "y.mp4").exists()


def test_an_anomalous_frame_has_a_red_border(tmp_path):
    red = draw_one_frame(tmp_path / "x.mp4", frame_options={"anomalous": True})
    for edge in (red[1], red[118], red[:, 1], red[:, 478]):
        assert (edge[5:-5, 0] > 180).all() and (edge[5:-5, 1] < 110).all()
    assert np.abs(red[10:110, 10:470] - 90).max() < 8
    for verdict in (False, None):
        assert np.abs(draw_one_frame(tmp_path / "x.mp4", frame_options={"anomalous": verdict})[:110] - 90).max() < 8


def test_an_error_in_the_block_keeps_the_old_file_of_the_video(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), AnnotatedVideo(path, 25, (120, 480)) as video:
        video.add(GRAY)
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no frame was added"), AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)):
        pass
    assert not list(tmp_path.iterdir())


def failing_encoder(number):
    def fail(*args, **kwargs):
        raise av.error.FFmpegError(number, "reason of the encoder")

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; nothing was changed"),
        (errno.EIO, r"the video cannot be written \(reason of the encoder\); try another path"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_errors_while_writing_are_offnormal_errors(tmp_path, number, message, early):
    with pytest.raises(OffnormalError, match=message), AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        video.add(GRAY)
        video._file._stream = type("Broken", (), {"encode": failing_encoder(number)})()
        if early:
            video.add(GRAY)
    assert not list(tmp_path.iterdir())


def test_another_encoder_replaces_a_missing_one(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "ENCODERS", ("not_there", "mpeg4"))
    with AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480)) as video:
        for frame in range(5):
            video.add(GRAY, time_s=frame / 10)
    assert video.encoder == "mpeg4" and len(read_video(tmp_path / "x.mp4")[2]) == 5
    monkeypatch.setattr(clips, "ENCODERS", ("not_there",))
    with pytest.raises(OffnormalError, match="was built without not_there; install its wheel"):
        AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 0}, "expected positive values"),
        ({"fps": float("nan")}, "expected positive values"),
        ({"size": (0, 5)}, "expected positive values"),
        ({"score_range": (1, 1)}, "score_range from 1 to 1; expected low < high"),
        ({"map_range": (1, float("inf"))}, "map_range from 1 to inf"),
    ],
)
def test_invalid_settings_of_a_video_are_refused(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        AnnotatedVideo(tmp_path / "x.mp4", **{"fps": 25, "size": (120, 480), **settings})


@pytest.mark.parametrize(
    ("image", "map", "message"),
    [
        (GRAY[:-1], None, r"frame 0 of shape \(119, 480, 3\) and uint8; expected \(120, 480, 3\)"),
        (GRAY.astype(float), None, "float64"),
        (GRAY, np.full((2, 2), np.nan), r"map of shape \(2, 2\) at frame 0; expected \(h, w\), all finite"),
        (GRAY, np.zeros(3), r"map of shape \(3,\)"),
    ],
)
def test_errors_name_the_invalid_frame(tmp_path, image, map, message):
    with (
        pytest.raises(DataError, match=message),
        AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480), pixel_threshold=1.0) as video,
    ):
        video.add(image, map=map)


def test_frames_can_be_added_only_inside_the_block(tmp_path):
    video = AnnotatedVideo(tmp_path / "x.mp4", 25, (120, 480))
    with pytest.raises(UsageError, match="inside the `with` block"):
        video.add(GRAY)
    with video:
        video.add(GRAY)
    with pytest.raises(UsageError, match="inside the `with` block"):
        video.add(GRAY)


def test_any_frame_rate_is_written(tmp_path):
    for fps in (0.2, 1, 29.97, Fraction(30000, 1001), 240):
        with AnnotatedVideo(tmp_path / "x.mp4", fps, (120, 480)) as video:
            for _ in range(3):
                video.add(GRAY)
        times = [time_s for time_s, _ in read_video(tmp_path / "x.mp4")[2]]
        assert times == pytest.approx([0, 1 / fps, 2 / fps], abs=1e-4)


@pytest.mark.slow
def test_chromium_plays_the_video(tmp_path):
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
    page_text = done.stdout.partition("<p>")[2].partition("</p>")[0]
    assert page_text.startswith("ready ") and page_text.endswith("error null"), (
        page_text,
        time.monotonic() - started,
        done.stderr,
    )
    assert int(page_text.split()[1]) >= 2 and page_text.split()[2].startswith("512x")
