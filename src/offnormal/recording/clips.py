"""Frames on their way to a clip: the last seconds of a camera in memory, those of an event on disk, and the MP4."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image

from offnormal.errors import DataError, OffnormalError, UsageError
from offnormal.files import explain_write_errors, new_file

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # by preference; of the last not every browser plays the video
CLOCK = 60_000  # ticks a second of the time stamps: whole for usual rates; MPEG-4 part 2 allows up to 65,535
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "21"}}  # smaller crf: better and larger; 18 shows no loss
_BIT_RATE = 4_000_000  # bits a second, where the encoder has no crf
_KEY_FRAME_S = 2.0  # at most so long apart, so that a player jumps quickly
_BT709 = 1  # color space, primaries, transfer: the number of BT.709 in each of the three standards' tables
_LIMITED = 1  # color range: 16-235
_FPS = 5.0  # of a clip of one frame
_QUALITY = 85  # of JPEG
_MOST_BYTES = 16 << 20  # a camera: 40 of them fit into 640 MB whatever they show


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
        stream = cast(VideoStream, added)
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
        try:
            with explain_write_errors(self.path):
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
    found = next((name for name in ENCODERS if _has(name)), None)
    if found is None:
        raise OffnormalError(
            f"PyAV {av.__version__} was built without {', '.join(ENCODERS)}; install its wheel from PyPI "
            "(pip install --force-reinstall --only-binary av av), which has the first"
        )
    return found


def _has(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except ValueError:  # as PyAV's UnknownCodecError is
        return False
    return True


class StoredFrame(NamedTuple):
    """One compressed image."""

    time_s: float
    jpeg: bytes


class ClipRing:
    """Frames of the last `seconds`, fewer where they would take more than `most_bytes`.

    longest: side in pixels to which larger images are shrunk, None: none.
    """

    def __init__(self, seconds: float, *, longest: int | None = 1280, most_bytes: int = _MOST_BYTES) -> None:
        self.seconds = seconds
        self.longest = longest
        self.most_bytes = most_bytes
        self.bytes = 0
        self._frames: deque[StoredFrame] = deque()

    def push(self, time_s: float, image: np.ndarray) -> StoredFrame:
        """Compress and keep a frame (H, W, 3) uint8 RGB; what is too old or too much goes."""
        stored = StoredFrame(time_s, compressed(image, self.longest))
        self._frames.append(stored)
        self.bytes += len(stored.jpeg)
        while len(self._frames) > 1 and (
            self._frames[0].time_s < time_s - self.seconds or self.bytes > self.most_bytes
        ):
            self.bytes -= len(self._frames.popleft().jpeg)
        return stored

    def since(self, time_s: float) -> list[StoredFrame]:
        """The frames that are left from a time on."""
        return [stored for stored in self._frames if stored.time_s >= time_s]


class EventFrames:
    """Frames of one event on their way to a clip; a full disk ends it, and is remembered as its `problem`."""

    def __init__(self, scratch: Path, frames: Iterable[StoredFrame]) -> None:
        self.scratch = scratch
        self.problem: str | None = None
        self._places: list[tuple[float, int, int]] = []  # time, offset and length of each frame
        self._size = 0
        self._file: BinaryIO | None = None
        try:
            self._file = self._opened()
        except OSError as error:
            self._failed(error)
            return
        for stored in frames:
            self.add(stored)

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return self._size

    def add(self, stored: StoredFrame) -> None:
        """Take the next frame."""
        if self.problem is not None or self._file is None:
            return
        try:
            self._file.write(stored.jpeg)
        except OSError as error:
            self._failed(error)
            return
        self._places.append((stored.time_s, self._size, len(stored.jpeg)))
        self._size += len(stored.jpeg)

    def write_clip(self, path: Path, start_s: float, end_s: float) -> None:
        """Write the frames from start to end as MP4; OffnormalError where that cannot be done."""
        if self.problem is not None:
            raise OffnormalError(self.problem)
        frames = self._between(start_s, end_s)
        first = next(frames, None)
        if first is None:
            raise OffnormalError("there was no frame to record")
        height, width = (max(2, side - side % 2) for side in first[1].shape[:2])
        with Mp4File(path, self._fps(start_s, end_s), (height, width), threads=1) as file:
            file.add(_fitted(first[1], (height, width)), first[0])
            for time_s, image in frames:
                file.add(_fitted(image, (height, width)), time_s)

    def close(self) -> None:
        """Let go of the frames."""
        with suppress(OSError):  # what could not be written is of no use any more
            if self._file is not None:
                self._file.close()
        self.scratch.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        self.scratch.parent.mkdir(parents=True, exist_ok=True)
        return self.scratch.open("w+b")

    def _between(self, start_s: float, end_s: float) -> Iterator[tuple[float, np.ndarray]]:
        assert self._file is not None
        for time_s, offset, length in self._places:
            if start_s <= time_s <= end_s:
                self._file.seek(offset)
                yield time_s, _decompressed(self._file.read(length))

    def _fps(self, start_s: float, end_s: float) -> float:
        times = [time_s for time_s, _, _ in self._places if start_s <= time_s <= end_s]
        return min(120.0, max(0.1, 1 / float(np.median(np.diff(times))))) if len(times) > 1 else _FPS

    def _failed(self, error: OSError) -> None:
        self.problem = f"the clip could not be recorded ({error.strerror})"


def compressed(image: np.ndarray, longest: int | None = None) -> bytes:
    """An image (H, W, 3) uint8 RGB as JPEG, its longer side no longer than `longest` pixels."""
    picture = Image.fromarray(image)
    if longest is not None:
        picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _decompressed(jpeg: bytes) -> np.ndarray:
    """The image (H, W, 3) uint8 RGB of `compressed`."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size of the clip: cut by the odd row or column, or scaled where the camera changed its size."""
    height, width = size
    if image.shape[0] - height in (0, 1) and image.shape[1] - width in (0, 1):
        return np.ascontiguousarray(image[:height, :width])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
