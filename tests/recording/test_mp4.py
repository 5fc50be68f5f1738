import av
import numpy as np
import pytest

from offnormal.errors import DataError, UsageError
from offnormal.recording.mp4 import Mp4File

GREY = np.full((48, 64, 3), 90, np.uint8)


def test_frames_come_back_at_their_own_times(tmp_path):
    with Mp4File(tmp_path / "x.mp4", 5, (48, 64), threads=1) as file:
        assert file.shown_s(7.0) == 7.0
        for time_s in (7.0, 7.2, 8.0):
            file.add(GREY, time_s)
        assert file.shown_s(8.5) == 8.5 and file.shown_s(1.0) == 8.2, "never before the last one"
    with av.open(str(tmp_path / "x.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time_s for time_s, _ in frames] == pytest.approx([0, 0.2, 1.0])
    assert frames[0][1].shape == (48, 64, 3) and np.abs(frames[0][1].astype(int) - 90).max() < 4


def test_no_frame_makes_no_file_and_frames_need_the_block(tmp_path):
    file = Mp4File(tmp_path / "x.mp4", 5, (48, 64))
    with pytest.raises(UsageError, match="inside its `with` block"):
        file.add(GREY)
    with pytest.raises(DataError, match="no frame was added"), file:
        pass
    assert not list(tmp_path.iterdir())
