"""Values that all packages share: frozen dataclasses that only check themselves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from offnormal.errors import ConfigError, counted

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
        """Whether an item has one score per frame (a series); otherwise it has a single score."""
        return self is Unit.FRAME


ResizePolicy = Literal["median_aspect", "stretch", "short_side", "letterbox"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Sampling = Literal["window", "uniform"]
Pool = Literal["max", "mean", "top"]
Severity = Literal["low", "medium", "high"]
MAX_IMAGE_PIXELS = 200_000_000  # 0.6 GB as RGB, times the reading threads; cameras of 200 megapixels exist
_POINT_FILTERS = ("nearest", "bilinear", "bicubic")  # filters that also work without antialiasing


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """How an image of any size is resized to the input size of a detector.

    `median_aspect` and `stretch` scale both axes to the target; with `median_aspect` the target has the median aspect
    ratio of the training images. `short_side` scales the shorter side to `short_side` pixels and crops the center.
    `letterbox` keeps the aspect ratio and pads with gray.
    """

    policy: ResizePolicy = "median_aspect"
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    short_side: int | None = None  # pixels, before the center crop; only for the policy `short_side`

    def __post_init__(self) -> None:
        if (self.policy == "short_side") != (self.short_side is not None):
            raise ConfigError(
                f"resize policy {self.policy!r} with short_side={self.short_side}: expected short_side (pixels) with "
                "the policy 'short_side', and only there"
            )
        if not self.antialias and self.interpolation not in _POINT_FILTERS:
            raise ConfigError(
                f"interpolation {self.interpolation!r} needs antialiasing; expected {', '.join(_POINT_FILTERS)}, or "
                "antialias=True"
            )


@dataclass(frozen=True, slots=True)
class Mask:
    """Areas that are painted black in every image before any other processing."""

    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()  # corners (x, y), relative to width and height
    image: str | None = None  # base64 PNG, stretched to the image size; its nonzero pixels are painted

    def __post_init__(self) -> None:
        for polygon in self.polygons:
            if len(polygon) < 3 or not all(0 <= value <= 1 for corner in polygon for value in corner):
                raise ConfigError(
                    f"polygon {[list(corner) for corner in polygon]}: expected 3 or more corners [x, y], relative to "
                    "width and height, from 0 to 1"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """Which frames form a clip, and which of them get scores; see InputSpec."""

    frames: int = 1
    fps: float | None = None
    sampling: Sampling = "window"
    hop: int = 1
    targets: tuple[int, ...] = (-1,)


_LARGEST_INPUT = 1_000_000_000  # pixels; a damaged bundle may claim more


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The pixels and frames that a detector takes; stored in the bundle."""

    size: tuple[int, int]  # (H, W) in pixels after resize and crop
    channels: int = 3  # 3: RGB, 1: gray
    resize: Resize = field(default_factory=Resize)
    levels: tuple[float, float] | None = None  # values of deep images that become 0 and 1; None: 8-bit training images
    max_pixels: int = MAX_IMAGE_PIXELS  # larger image files are refused
    frames: int = 1  # 1: image (N, C, H, W); T > 1: clip (N, C, T, H, W)
    fps: float | None = None  # the frames of a clip are 1/fps s apart by timestamps; None: consecutive source frames
    sampling: Sampling = "window"  # window: many clips of consecutive frames; uniform: one clip over the whole video
    hop: int = 1  # source frames between the starts of two windows
    targets: tuple[int, ...] = (-1,)  # positions in the clip of the K scored frames, negative from the end; (): all
    mask: Mask | None = None  # privacy mask, painted first

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.channels not in (1, 3) or self.frames < 1:
            raise ConfigError(
                f"input of {self.size[0]}x{self.size[1]} pixels, {counted(self.channels, 'channel')}, "
                f"{counted(self.frames, 'frame')}: expected sides and frames above 0, and 1 or 3 channels"
            )
        if self.size[0] * self.size[1] * self.frames > _LARGEST_INPUT:
            raise ConfigError(
                f"input of {self.size[0]}x{self.size[1]} pixels x {counted(self.frames, 'frame')}: expected at most "
                f"{_LARGEST_INPUT:,} pixels in total; choose a smaller --size"
            )
        if self.levels is not None and not -math.inf < self.levels[0] < self.levels[1] < math.inf:
            raise ConfigError(f"levels {self.levels}: expected two numbers, the first one lower")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(
                f"fps {self.fps:g}: expected frames per second above 0, or None for consecutive source frames"
            )
        if self.hop < 1:
            raise ConfigError(f"hop {self.hop}: expected 1 or more source frames")
        if self.sampling not in ("window", "uniform"):
            raise ConfigError(f"sampling {self.sampling!r}: expected 'window' or 'uniform'")
        if self.sampling == "uniform" and (self.fps is not None or self.hop != 1):
            raise ConfigError(
                f"sampling 'uniform' with fps={self.fps} and hop={self.hop}: uniform sampling makes one clip per "
                "video; omit fps and hop, or choose sampling 'window'"
            )
        positions = {target % self.frames for target in self.targets if -self.frames <= target < self.frames}
        if len(positions) < len(self.targets):
            raise ConfigError(
                f"targets {self.targets} for a clip of {counted(self.frames, 'frame')}: expected distinct positions "
                f"from {-self.frames} to {self.frames - 1}, or () for the whole clip"
            )

    def unit(self, is_video: bool) -> Unit:
        """What gets one score, for images or for videos."""
        if not is_video:
            return Unit.IMAGE
        return Unit.CLIP if self.scores_whole_video else Unit.FRAME

    @property
    def scores_whole_video(self) -> bool:
        """Whether a video gets one score instead of one per frame."""
        return self.sampling == "uniform" and not self.targets


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a video."""

    index: int  # position in its video, from 0, never the number in a file's name
    time_s: float | None  # seconds since the video's first frame; None: no clock
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    deep: np.ndarray | None = field(default=None, kw_only=True)  # (H, W, 3) float32 in 0-1: it has more than 8 bits
    arrived_s: float | None = None  # monotonic clock, when it arrived from a live source; None: not live
    utc_s: float | None = None  # seconds since 1970 at that moment
    path: Path | None = None  # of the image file, in a watched folder
    restarts: bool = False  # True: the clock of the file restarts here; time_s continues


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A break between two frames of a live source; no window spans it."""

    reason: str  # starts with a name: `stalled:`, `ended:`, `failed:`
    arrived_s: float  # monotonic clock, when it was noticed
    utc_s: float  # seconds since 1970 at that moment


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSource:
    """Where the mask of an image, or the masks of a video's frames, are stored: nonzero = anomalous pixel."""

    path: Path  # an image file; for a video one mask per frame: image folder, .npy (T, H, W), .npz, or .mat
    key: str | None = None  # array name inside a .npz or .mat
    size: tuple[int, int] | None = None  # (H, W) of masks packed to bits along the last axis; None: not packed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """One item of a dataset: an image or a video."""

    address: str  # path of the image, video file, or folder of frames; FILE/42: an image inside an IDX file
    name: str  # unique in its split; for images the path relative to the dataset root, with suffix
    is_video: bool = False
    label: int | None = None  # of the whole item: 0 normal, 1 anomalous, None unknown
    frame_labels: np.ndarray | None = None  # (T,) uint8, of a video: 0 normal, 1 anomalous; None: unknown
    class_name: str | None = None  # folder name of the anomaly type ("scratch", "good"), or activity class
    masks: MaskSource | None = None
    group: str | None = None  # session, lot, or original; a group is never divided; None: the item is its own group

    @property
    def path(self) -> Path:
        """The address as a local path."""
        return Path(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a batch: an image, a frame, or a clip."""

    item: Item
    label: int | None  # of this row: 0 normal, 1 anomalous, None unknown
    group: str | None  # group of the item, or the segment of a video that is cut into several
    frame: int | None = None  # position in its video, from 0; None: an image
    time_s: float | None = None  # seconds since the video's first frame; None: an image, or no clock


@dataclass(frozen=True, slots=True)
class Output:
    """Tensors that a detector returns; higher = more anomalous."""

    score: Tensor  # (N, K)
    map: Tensor | None  # (N, K, H, W) at input size; None: no map
    terms: dict[str, Tensor] = field(default_factory=dict)  # (N, K) each: the components of the score
    recalled: Tensor | None = None  # (N, M) share of each memory item; None: no memory
    embedding: Tensor | None = None  # (N, D) of each image or whole clip; None: no embedding
    latent: Tensor | None = None  # (N, L) code between encoder and decoder; None: no latent code


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores as numpy arrays, one row per image, scored frame, or clip; comparable only within one detector."""

    score: np.ndarray  # (R,) float32, higher = more anomalous
    map: np.ndarray | None  # (R, H, W) float32
    terms: dict[str, np.ndarray] = field(default_factory=dict)  # (R,) each
    recalled: np.ndarray | None = None  # (N, M) share of each memory item, one row per image or clip
    embedding: np.ndarray | None = None  # (N, D) float32, as in Output
    latent: np.ndarray | None = None  # (N, L) float32, as in Output

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a map becomes a score: by its maximum, its mean, or (top) the mean of its highest values."""

    method: Pool
    share: float = 1.0  # for `top`: the share of pixels that is averaged


@dataclass(frozen=True, slots=True)
class Rate:
    """A false-alarm rate: the share of normal images, frames, or clips above the threshold, or alarms per time.

    >>> Rate.parse("1%"), Rate.parse("0.005"), str(Rate(0.01))
    (Rate(value=0.01, per='image'), Rate(value=0.005, per='image'), '1 % of normal images')
    """

    value: float
    per: Literal["image", "frame", "clip", "hour", "day"] = "image"

    def __post_init__(self) -> None:
        if self.is_share and not 0 < self.value < 1:
            raise ConfigError(
                f"rate {self.value:g}: expected a share of normal {self.per}s above 0 and below 1, such as 0.01 or 1%"
            )
        if not 0 < self.value < math.inf:
            raise ConfigError(f"rate {self.value:g} per {self.per}: expected a number above 0")

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images, frames, or clips; otherwise it counts alarms per time."""
        return self.per in ("image", "frame", "clip")

    @property
    def per_hour(self) -> float:
        """Alarms per hour; only for rates per time."""
        return self.value / (24 if self.per == "day" else 1)

    @classmethod
    def parse(cls, text: str | float | Rate) -> Rate:
        """Parse `0.01`, `1%`, `2/hour`, or `2/day`; ConfigError for anything else."""
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
    """The score of one unit, its p-value, and the decision."""

    score: float  # raw, higher = more anomalous
    p_value: float | None  # share of normal scores at least as high; None: not calibrated
    threshold: float | None  # scores above it are anomalous
    anomalous: bool | None  # None: no threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A time span with an anomaly in front of a camera, or with a camera fault; complete enough to explain it later."""

    id: str  # constant across updates of the event; a valid file name
    camera: str
    kind: str = "anomaly"  # or a camera fault: no_frames, frozen, ...
    state: Literal["open", "closed"]  # open: end, peak, and scores are provisional
    start: datetime  # UTC
    end: datetime  # UTC
    source: str = ""  # address of the video source, without credentials
    position_s: float | None = None  # of the start in a recording; None: live
    continues: str | None = None  # id of the event that reached its maximum duration and continues in this one
    incident: str = ""  # id of the first event of its incident; "": a camera fault
    is_alerted: bool = True  # whether alerts are sent for it, as for the first event of an incident
    detail: str = ""  # text that adds to the kind
    peak: datetime | None = None  # UTC, of the highest score; None: no scores (a camera fault)
    peak_score: float | None = None  # raw, higher = more anomalous
    p_value: float | None = None  # of the peak; None: not calibrated
    severity: Severity | None = None
    scores: tuple[tuple[float, float], ...] = ()  # seconds since the start, highest score until the next
    threshold: float | None = None  # the event opens above it
    low_threshold: float | None = None  # the event closes at or below it
    rules: dict[str, float] = field(default_factory=dict)  # durations that opened, merged, and closed the event
    bundle: str | None = None  # hash of the detector
    calibration: str | None = None  # id of the calibration
    setup_hash: str | None = None  # hash of masks and zones that the calibration belongs to
    software: str = ""  # name and version of what raised it
    snapshot: str | None = None  # path of the frame at the peak, relative to the folder of events
    heat_map: str | None = None  # path of the same frame with its heat map
    clip: str | None = None  # path of the MP4, which starts before and ends after the event
    problems: tuple[str, ...] = ()  # why an image or the clip is missing

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.end - self.start).total_seconds()
