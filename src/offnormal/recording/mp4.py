"""An H.264 file that a browser plays, written frame by frame; it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np

from offnormal.errors import DataError, OffnormalError, UsageError
from offnormal.files import explained, new_file

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # by preference; of the last not every browser plays the video
CLOCK = 60_000  # ticks a second of the time stamps: whole for usual rates; MPEG-4 part 2 allows up to 65,535
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "21"}}  # smaller crf: better and larger; 18 shows no loss
_BIT_RATE = 4_000_000  # bits a second, where the encoder has no crf
_KEY_FRAME_S = 2.0  # at most so long apart, so that a player jumps quickly
_BT709 = 1  # colour space, primaries, transfer: the number of BT.709 in each of the three standards' tables
_LIMITED = 1  # colour range: 16-235


class Mp4File:
    """Frames of one size, each shown at its own time after the first; the file appears when the block ends well.

    size: (H, W), both even. fps: of frames added without a time of their own. threads: that encode; 0: one a core.
    Raises OffnormalError where the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], *, threads: int = 0) -> None:
        self.path = path
        self.frames = 0
        self.encoder = _encoder()
        self._fps, self._size, self._threads = fps, size, threads
        self._stack: ExitStack | None = None
        self._clock = 0  # ticks of the newest frame
        self._start_s = 0.0

    def __enter__(self) -> Mp4File:
        with ExitStack() as stack:
            partial = stack.enter_context(new_file(self.path))
            stack.enter_context(self._encoding(partial))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(kind, error, trace)

    @property
    def is_open(self) -> bool:
        """Whether frames can be added."""
        return self._stack is not None

    def shown_s(self, time_s: float | None) -> float:
        """When a frame of this time would be shown, in the clock of the frames' own times."""
        return self._ticks(time_s) / CLOCK + (self._start_s if self.frames else time_s or 0.0)

    def add(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Write one more frame (H, W, 3) uint8 RGB, shown later than the one before whatever its time.

        Raises UsageError outside the `with` block, OffnormalError where it cannot be written.
        """
        import av

        if not self.is_open:
            raise UsageError(f"{self.path}: frames are added inside its `with` block")
        ticks = self._ticks(time_s)
        if self.frames == 0:
            self._start_s = 0.0 if time_s is None else float(time_s)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        frame.pts, frame.time_base = ticks, Fraction(1, CLOCK)
        with self._named():
            self._container.mux(self._stream.encode(frame))
        self.frames += 1
        self._clock = ticks

    def _ticks(self, time_s: float | None) -> int:
        """When the next frame is shown, after the first one."""
        step = max(1, round(CLOCK / self._fps))
        if self.frames == 0:
            return 0
        wanted = self._clock + step if time_s is None else round((time_s - self._start_s) * CLOCK)
        return wanted if wanted > self._clock else self._clock + step

    @contextmanager
    def _encoding(self, partial: Path) -> Iterator[None]:
        """The encoder and its container, finished when the block ends well and thrown away when it does not."""
        import av

        with self._named():
            container = av.open(str(partial.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            with self._named():
                self._container, self._stream = container, self._opened(container)
            yield
            if not self.frames:
                raise DataError(f"{self.path}: no frame was added, so there is no video to write")
            with self._named():
                container.mux(self._stream.encode(None))
                container.close()
        except BaseException:
            with suppress(av.FFmpegError, OSError):
                container.close()
            raise

    def _opened(self, container: OutputContainer) -> VideoStream:
        rate = Fraction(self._fps).limit_denominator(1001)
        added = container.add_stream(self.encoder, rate=rate, options=_OPTIONS.get(self.encoder, {}))
        stream = cast("VideoStream", added)
        (stream.height, stream.width), stream.pix_fmt = self._size, "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, CLOCK)
        codec.thread_count = self._threads
        codec.gop_size = max(1, round(_KEY_FRAME_S * self._fps))
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED
        if self.encoder not in _OPTIONS:
            codec.bit_rate = _BIT_RATE
        return stream

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the encoder as ours."""
        import av

        try:
            with explained(self.path):
                try:
                    yield
                except av.FFmpegError as error:
                    raise OSError(error.errno, error.strerror) from None
        except OSError as error:
            raise OffnormalError(
                f"{self.path}: the video cannot be written ({error.strerror}); try another place or another size"
            ) from None


def _encoder() -> str:
    """The first of ENCODERS that this build of FFmpeg has; OffnormalError where there is none."""
    import av

    found = next((name for name in ENCODERS if _has(name)), None)
    if found is None:
        raise OffnormalError(
            f"PyAV {av.__version__} was built without {', '.join(ENCODERS)}; install its wheel from PyPI "
            "(pip install --force-reinstall --only-binary av av), which has the first"
        )
    return found


def _has(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except ValueError:  # as PyAV's UnknownCodecError is
        return False
    return True
