import av
import numpy as np
import pytest

from offnormal.errors import DataError
from offnormal.sources.video_index import count_frames, frame_size, read_clock
from tests.data.footage import clip, write_video


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_times_of_every_frame_from_zero(tmp_path, suffix):
    clock = read_clock(write_video(tmp_path / f"a{suffix}", 7, fps=10))
    np.testing.assert_allclose(clock.times_s, np.arange(7) / 10, atol=2e-3)


def test_times_ascend_although_frames_are_stored_out_of_order(tmp_path):
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "b_strategy": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * i, np.uint8), "rgb24")))
        container.mux(stream.encode())
    np.testing.assert_allclose(read_clock(tmp_path / "b.mp4").times_s, np.arange(12) / 25, atol=1e-6)


def test_sizes_and_counts(tmp_path):
    assert count_frames(write_video(tmp_path / "b.mpg", 9)) == 9
    assert frame_size(write_video(tmp_path / "a.mp4", size=(32, 48))) == (32, 48)
    folder = clip(tmp_path / "frames", 5)
    (folder / "._001.tif").touch()
    assert (frame_size(folder), count_frames(folder)) == ((4, 6), 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no image"):
        frame_size(tmp_path / "empty")


@pytest.mark.parametrize("read", [read_clock, frame_size])
def test_errors_name_the_file_that_is_not_a_video(tmp_path, read):
    (tmp_path / "broken.mp4").write_bytes(b"nothing" * 50)
    with pytest.raises(DataError, match=r"broken\.mp4: not a readable video"):
        read(tmp_path / "broken.mp4")
    with pytest.raises(DataError, match=r"gone\.mp4: no such file"):
        read(tmp_path / "gone.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"sound\.mkv: no video stream"):
        read(tmp_path / "sound.mkv")
