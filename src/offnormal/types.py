"""The values that travel between the rooms: frozen, without behavior beyond checking themselves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from offnormal.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

NORMAL, ANOMALOUS = 0, 1


class Unit(Enum):
    """What gets one score."""

    IMAGE = "image"
    FRAME = "frame"
    CLIP = "clip"

    @property
    def is_per_frame(self) -> bool:
        """Whether an item has a score for each of its frames, which form a series; otherwise it has one."""
        return self is Unit.FRAME


ResizePolicy = Literal["median_aspect", "stretch", "short_side", "letterbox"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Sampling = Literal["window", "uniform"]
Pool = Literal["max", "mean", "top"]
Severity = Literal["low", "medium", "high"]
_POINT_FILTERS = ("nearest", "bilinear", "bicubic")  # those that exist without antialiasing


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """How a picture of any size becomes the rectangle that a detector eats.

    `median_aspect` and `stretch` scale both axes to the target, the first to a rectangle whose aspect was the
    median of the training pictures; `short_side` scales the shorter side to `short_side` pixels and crops the
    center; `letterbox` keeps the aspect and fills the rest with gray.
    """

    policy: ResizePolicy = "median_aspect"
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    short_side: int | None = None  # pixels, before the center crop; only with `short_side`

    def __post_init__(self) -> None:
        if (self.policy == "short_side") != (self.short_side is not None):
            raise ConfigError(
                f"resize policy {self.policy!r} with short_side={self.short_side}: give short_side (pixels) "
                "with the policy 'short_side' and with no other"
            )
        if not self.antialias and self.interpolation not in _POINT_FILTERS:
            raise ConfigError(
                f"interpolation {self.interpolation!r} exists with antialiasing only; without it choose "
                f"{', '.join(_POINT_FILTERS)}"
            )


@dataclass(frozen=True, slots=True)
class Mask:
    """Areas of every picture that are painted black before anything else sees it."""

    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()  # corners (x, y), relative to width and height
    image: str | None = None  # PNG in base64, stretched to the picture's size; what is not black is painted

    def __post_init__(self) -> None:
        for polygon in self.polygons:
            if len(polygon) < 3 or not all(0 <= value <= 1 for corner in polygon for value in corner):
                raise ConfigError(
                    f"polygon {[list(corner) for corner in polygon]}: expected 3 corners or more, [x, y] each, as "
                    "shares of width and height from 0 to 1"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """Which frames of a video a detector takes at once, and which of them its scores describe; see InputSpec."""

    frames: int = 1
    fps: float | None = None
    sampling: Sampling = "window"
    hop: int = 1
    targets: tuple[int, ...] = (-1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """Which pixels and frames a detector eats; stored in the bundle."""

    size: tuple[int, int]  # (H, W) in pixels after resize and crop
    channels: int = 3  # 3: RGB, 1: gray
    resize: Resize = field(default_factory=Resize)
    bits: int = 16  # significant bits of 16-bit pictures: 12-bit cameras often write 16-bit files
    frames: int = 1  # 1: image (N, C, H, W); T > 1: clip (N, C, T, H, W)
    fps: float | None = None  # the frames of a clip are 1/fps s apart by timestamps; None: consecutive source frames
    sampling: Sampling = "window"  # window: a stretch of the video, again and again; uniform: spread over all of it
    hop: int = 1  # source frames between the starts of two windows
    targets: tuple[int, ...] = (-1,)  # places in the clip its K scores speak of, negative from the end; (): all of it
    mask: Mask | None = None  # painted before anything else sees a picture

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.channels not in (1, 3) or self.frames < 1 or not 8 <= self.bits <= 16:
            raise ConfigError(
                f"input specification {self.size}, {self.channels} channels, {self.frames} frames, "
                f"{self.bits} bits: sides and frames must be positive, channels 1 or 3, bits 8 to 16"
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(
                f"fps {self.fps:g}: expected frames per second above 0, or None for consecutive source frames"
            )
        if self.hop < 1:
            raise ConfigError(f"hop {self.hop}: expected 1 source frame or more from one window to the next")
        if self.sampling not in ("window", "uniform"):
            raise ConfigError(f"sampling {self.sampling!r}: expected 'window' or 'uniform'")
        if self.sampling == "uniform" and (self.fps is not None or self.hop != 1):
            raise ConfigError(
                f"sampling 'uniform' with fps={self.fps} and hop={self.hop}: it makes one clip of a video; leave "
                "fps and hop out, or choose sampling 'window'"
            )
        places = {target % self.frames for target in self.targets if -self.frames <= target < self.frames}
        if len(places) < len(self.targets):
            raise ConfigError(
                f"targets {self.targets} of a clip of {self.frames} frames: expected different places from "
                f"{-self.frames} to {self.frames - 1}, or () for the clip as a whole"
            )

    def unit(self, is_video: bool) -> Unit:
        """What gets one score, of images or of videos."""
        if not is_video:
            return Unit.IMAGE
        return Unit.CLIP if self.of_whole_video else Unit.FRAME

    @property
    def of_whole_video(self) -> bool:
        """Whether there is one score for a video, and not one for each of its frames."""
        return self.sampling == "uniform" and not self.targets


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video."""

    index: int  # position in its video, from 0, never the number in a file's name
    time_s: float | None  # seconds since the video's first frame; None where there is no clock
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    arrived_s: float | None = None  # on the monotonic clock, when a live source gave it; None: not live
    utc_s: float | None = None  # seconds since 1970 at that moment
    path: Path | None = None  # of the picture itself, in a folder that is watched
    restarts: bool = False  # the clock of its file starts again with it; its time continues


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A break between two frames of a live source, which no window reaches across."""

    reason: str  # begins with a name: `stalled:`, `ended:`, `failed:`
    arrived_s: float  # on the monotonic clock, when it was noticed
    utc_s: float  # seconds since 1970 at that moment


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSource:
    """Where the mask of an image, or the masks of a video's frames, are stored: nonzero = anomalous pixel."""

    path: Path  # an image file; of a video, one mask a frame: a folder of images, a .npy (T, H, W), a .npz, or a .mat
    key: str | None = None  # name inside a .npz or .mat
    size: tuple[int, int] | None = None  # (H, W) of masks packed to bits along their last axis; None: not packed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """One thing of a dataset: an image or a video."""

    address: str  # path of the image, the video file, or the folder of frames; FILE/42 of an image inside an IDX file
    name: str  # unique among the items of one split; of images the path below the dataset's root, with suffix
    is_video: bool = False
    label: int | None = None  # of the item as a whole: 0 normal, 1 anomalous, None unknown
    frame_labels: np.ndarray | None = None  # (T,) uint8, of a video: 0 normal, 1 anomalous; None: unknown
    class_name: str | None = None  # folder of the type of anomaly ("scratch", "good"), or class of activity
    masks: MaskSource | None = None
    group: str | None = None  # session, lot, original: items of one group are never split; None: the item is its own

    @property
    def path(self) -> Path:
        """The address as a local path."""
        return Path(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a batch: an image, or a frame or clip of a video."""

    item: Item
    label: int | None  # of this row: 0 normal, 1 anomalous, None unknown
    group: str | None  # the item's, or the stretch of a video that is cut into several
    frame: int | None = None  # position in its video, from 0; None: an image
    time_s: float | None = None  # seconds since the video's first frame; None: an image, or no clock


@dataclass(frozen=True, slots=True)
class Output:
    """What a detector returns: tensors, higher = more anomalous."""

    score: Tensor  # (N, K)
    map: Tensor | None  # (N, K, H, W) at input size, or None when the method has no map
    terms: dict[str, Tensor] = field(default_factory=dict)  # (N, K) each: the terms behind the score
    recalled: Tensor | None = None  # (N, M) share of each of the memory's items; None: the method has no memory
    embedding: Tensor | None = None  # (N, D) what was made of each image or clip as a whole; None: nothing of the kind
    latent: Tensor | None = None  # (N, L) its code between encoder and decoder; None: nothing of the kind


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores as numpy; one row per image, scored frame or clip; comparable only within one detector."""

    score: np.ndarray  # (R,) float32, higher = more anomalous
    map: np.ndarray | None  # (R, H, W) float32
    terms: dict[str, np.ndarray] = field(default_factory=dict)  # (R,) each
    recalled: np.ndarray | None = None  # (N, M) share of each item of a memory, a row for each of N images or clips
    embedding: np.ndarray | None = None  # (N, D) float32, as in Output
    latent: np.ndarray | None = None  # (N, L) float32, as in Output

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a score comes out of a map: its highest value, its mean, or (top) the mean of its highest `share`."""

    how: Pool
    share: float = 1.0  # of the pixels that are averaged, with `top`


@dataclass(frozen=True, slots=True)
class Rate:
    """A false-alarm rate: the share of normal images, frames or clips called anomalous, or alarms in a time.

    >>> Rate.parse("1%"), Rate.parse("0.005"), str(Rate(0.01))
    (Rate(value=0.01, per='image'), Rate(value=0.005, per='image'), '1 % of normal images')
    """

    value: float
    per: Literal["image", "frame", "clip", "hour", "day"] = "image"

    def __post_init__(self) -> None:
        if self.is_share and not 0 < self.value < 1:
            raise ConfigError(
                f"rate {self.value:g}: expected a share of normal {self.per}s between 0 and 1, such as 0.01 or 1%"
            )
        if not 0 < self.value < math.inf:
            raise ConfigError(f"rate {self.value:g} per {self.per}: expected a number above 0")

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images, frames or clips, not a number of alarms in a time."""
        return self.per in ("image", "frame", "clip")

    @property
    def per_hour(self) -> float:
        """Alarms in an hour; only of rates in a time."""
        return self.value / (24 if self.per == "day" else 1)

    def of_frames(self) -> Rate:
        """The same, a share being one of frames."""
        return Rate(self.value, "frame") if self.per == "image" else self

    @classmethod
    def parse(cls, text: str | float | Rate) -> Rate:
        """Read `0.01`, `1%`, `2/hour` or `2/day`; ConfigError for anything else."""
        if isinstance(text, Rate):
            return text
        match = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*(%|/\s*(?:hour|h|day|d))?\s*", str(text), re.IGNORECASE)
        try:
            value = float(match[1]) if match else float("nan")
        except ValueError:
            match = None
        if match is None:
            raise ConfigError(f"rate {text!r}: expected a share such as 0.01 or 1%")
        unit = (match[2] or "").lower()
        if unit == "%":
            return cls(value / 100)
        if unit:
            return cls(value, "hour" if "h" in unit else "day")
        return cls(value)

    def __str__(self) -> str:
        if self.is_share:
            return f"{self.value * 100:.3g} % of normal {self.per}s"
        return f"{self.value:g} per {self.per}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one image: raw score, how rare it is among normals, and the decision."""

    score: float  # raw, higher = more anomalous
    p_value: float | None  # chance of a normal image scoring at least this high; None: not calibrated
    threshold: float | None  # a score above it is anomalous
    anomalous: bool | None  # None: there is no threshold to decide by


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A span of time in which a camera showed what is not normal, with all it takes to explain it a year later."""

    id: str  # the same whenever it is told again; a legal file name
    camera: str
    kind: str = "anomaly"  # or what befell the camera itself: no_frames, frozen, ...
    state: Literal["open", "closed"]  # of an open one the end, the peak and the scores are those so far
    start: datetime  # UTC
    end: datetime  # UTC
    source: str = ""  # what is watched, without credentials
    position_s: float | None = None  # of the start in a recording; None: live
    continues: str | None = None  # id of the event that grew too long and goes on in this one
    detail: str = ""  # in words, where the kind does not say it all
    peak: datetime | None = None  # UTC, of the highest score; None: it has no scores, as events of the camera itself
    peak_score: float | None = None  # raw, higher = more anomalous
    p_value: float | None = None  # of the peak among normals; None: not calibrated
    severity: Severity | None = None
    scores: tuple[tuple[float, float], ...] = ()  # seconds since the start, highest score until the next
    threshold: float | None = None  # opened above it
    low_threshold: float | None = None  # closed at or below it
    rules: dict[str, float] = field(default_factory=dict)  # durations by which it was opened, merged and closed
    bundle: str | None = None  # hash of the detector
    calibration: str | None = None  # id of the calibration
    setup_hash: str | None = None  # hash of masks and zones that the calibration belongs to
    software: str = ""  # name and version of what raised it
    snapshot: str | None = None  # path of the frame at the peak, relative to the folder of events
    heat_map: str | None = None  # the same under its heat map
    clip: str | None = None  # path of the MP4, from before the start until after the end
    problems: tuple[str, ...] = ()  # why a picture or the clip is missing

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.end - self.start).total_seconds()
