"""What a report rests on, as two lists of facts: the data card and the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offnormal.clip_evaluation import ClipEvaluation
from offnormal.data.dataset import Dataset
from offnormal.evaluation import Evaluation
from offnormal.report.wording import NONE, counted
from offnormal.types import ANOMALOUS, NORMAL
from offnormal.video_evaluation import VideoEvaluation

_SHOWN_APART = ("data", "weights", "versions", "machine", "sha256", "bundle", "created", "format_version")


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value; codes (hashes, versions) are set in fixed width."""

    name: str
    value: str
    code: bool = False


def data_card(evaluation: Evaluation, card: Mapping[str, Any]) -> list[Fact]:
    """What was tested on, and what the detector was fitted on."""
    dataset = evaluation.dataset
    labels = Counter(row.sample.label for row in evaluation.rows)
    parts = [
        f"{labels[label]:,} {name}"
        for label, name in ((NORMAL, "normal"), (ANOMALOUS, "anomalous"), (None, "without a label"))
        if labels[label]
    ]
    facts = _where(dataset)
    facts.append(
        Fact("tested on", f"{counted(len(evaluation.rows), 'picture', 'pictures')}: {', '.join(parts) or NONE}")
    )
    if evaluation.skipped:
        facts.append(Fact("left out", counted(len(evaluation.skipped), "file", "files")))
    groups = len({row.sample.group for row in evaluation.rows} - {None})
    if groups:
        facts.append(Fact("groups", f"{groups:,} (sessions, lots or videos)"))
    masks = sum(row.sample.item.masks is not None for row in evaluation.rows)
    facts.append(Fact("masks", counted(masks, "picture has one", "pictures have one") if masks else "none"))
    facts.append(Fact("fingerprint", evaluation.fingerprint, code=True))
    return facts + fitted_on(card)


def video_data_card(evaluation: VideoEvaluation, card: Mapping[str, Any]) -> list[Fact]:
    """What videos were tested on, how fast, and what the detector was fitted on."""
    videos = evaluation.videos
    frames = sum(len(video.scores.scores) for video in videos)
    facts = _where(evaluation.dataset)
    facts.append(Fact("tested on", f"{counted(len(videos), 'video', 'videos')}, {counted(frames, 'frame', 'frames')}"))
    facts.append(Fact("labels", _of_them(len(evaluation.labelled), len(videos))))
    facts.append(Fact("masks", _of_them(sum(video.video.masks is not None for video in videos), len(videos))))
    if evaluation.skipped:
        facts.append(Fact("left out", counted(len(evaluation.skipped), "file", "files")))
    if evaluation.seconds_per_frame:
        each, speed = 1000 * evaluation.seconds_per_frame, 1 / evaluation.seconds_per_frame
        facts.append(Fact("scoring took", f"{each:.3g} ms a frame, decoding included ({speed:,.0f} frames per second)"))
    facts.append(Fact("fingerprint", evaluation.fingerprint, code=True))
    return facts + fitted_on(card)


def clip_data_card(evaluation: ClipEvaluation, card: Mapping[str, Any]) -> list[Fact]:
    """What clips were tested on and how they were divided, how fast, and what the detector was fitted on."""
    dataset = evaluation.dataset
    tested = sum(row.tested for row in evaluation.clips)
    facts = _where(dataset)
    facts.append(Fact("tested on", counted(tested, "clip", "clips")))
    if dataset.split is not None:
        chosen = dataset.split.classes
        shares = "/".join(f"{share:g}" for share in chosen.shares)
        facts += [
            Fact("normal classes", ", ".join(chosen.normal)),
            Fact("anomalous classes", ", ".join(chosen.anomalous) or NONE),
            Fact(
                "divided", f"{shares} % of each normal class (train/test/calibration), by originals, seed {chosen.seed}"
            ),
        ]
    if evaluation.skipped:
        facts.append(Fact("left out", counted(len(evaluation.skipped), "file", "files")))
    if evaluation.seconds_per_clip:
        facts.append(Fact("scoring took", f"{evaluation.seconds_per_clip:.3g} s a clip, decoding included"))
    facts.append(Fact("fingerprint", evaluation.fingerprint, code=True))
    return facts + fitted_on(card)


def fitted_on(card: Mapping[str, Any]) -> list[Fact]:
    """What the detector was fitted on, as far as its card says."""
    fitted: Mapping[str, Any] = card.get("data") or {}
    if not fitted:
        return []
    where = f"{fitted.get('name', NONE)}, {fitted.get('layout', NONE)} layout"
    what = _learnt_from(fitted)
    facts = [Fact("fitted on", f"{what} of {where}" if what else where)]
    facts.append(Fact("fingerprint of these", str(fitted.get("fingerprint", NONE)), code=True))
    if fitted.get("skipped"):
        facts.append(Fact("left out of the fit", f"{fitted['skipped']}"))
    return facts


def _learnt_from(fitted: Mapping[str, Any]) -> str:
    videos, number = fitted.get("videos"), fitted.get("images")
    if videos is None:
        return "" if number is None else counted(number, "normal picture", "normal pictures")
    if number is None:
        return counted(videos, "normal video", "normal videos")
    if fitted.get("things") == "clips" and number == videos:  # one clip of each
        return counted(number, "normal clip", "normal clips")
    windows = ("normal clip", "normal clips") if fitted.get("things") == "clips" else ("normal frame", "normal frames")
    return f"{counted(number, *windows)} in {counted(videos, 'video', 'videos')}"


def model_card(evaluation: Evaluation | VideoEvaluation | ClipEvaluation, card: Mapping[str, Any]) -> list[Fact]:
    """The detector: its options and input where the card has them, weights with licences, versions, hashes."""
    facts = [Fact("bundle", evaluation.bundle, code=True)]
    facts += [Fact(name, value) for name, value in _flat(card, leave=_SHOWN_APART)]
    if "created" in card:
        facts.append(Fact("fitted", _time(str(card["created"]))))
    for weights in card.get("weights") or ():
        name = str(weights.get("backbone") or weights.get("name") or "weights")
        size = weights.get("size")
        about = [str(weights.get("source", NONE)), f"licence {weights.get('licence') or 'not stated'}"]
        if isinstance(size, Sequence) and len(size) == 2:
            about.append(f"made for {size[0]} x {size[1]} pixels")
        facts.append(Fact(f"weights of {name}", "; ".join(about)))
        if weights.get("sha256"):
            facts.append(Fact("sha256 of these", str(weights["sha256"]), code=True))
    calibration = evaluation.calibration
    if calibration is not None:
        facts.append(Fact("calibration", calibration.id, code=True))
        facts.append(Fact("calibrated", _time(calibration.created)))
        if calibration.pixel_threshold is not None:
            facts.append(Fact("pixel threshold", f"{calibration.pixel_threshold:.6g}"))
    for name in ("versions", "machine"):
        if values := dict(_flat(card.get(name) or {})):
            facts.append(Fact(name, ", ".join(f"{key} {value}" for key, value in values.items())))
    for name, digest in (card.get("sha256") or {}).items():
        facts.append(Fact(f"sha256 of {name}", str(digest), code=True))
    return facts


def detector(card: Mapping[str, Any]) -> str:
    """Detector and backbone in a few words, as far as the card names them."""
    found = card.get("detector")
    named = found.get("name") if isinstance(found, Mapping) else found
    backbones = [weights.get("backbone") for weights in card.get("weights") or ()]
    return " on ".join(str(part) for part in (named, *backbones) if part)


def _where(dataset: Dataset) -> list[Fact]:
    facts = [Fact("data set", dataset.name), Fact("layout", dataset.layout)]
    if dataset.category is not None:
        facts.append(Fact("category", dataset.category))
    return [*facts, Fact("folder", dataset.root.as_posix(), code=True)]


def _of_them(number: int, total: int) -> str:
    return "none" if not number else "of every video" if number == total else f"of {number:,} of {total:,} videos"


def _flat(values: Mapping[str, Any], leave: Sequence[str] = (), path: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, in their order; what is None is left out."""
    for key, value in values.items():
        name = f"{path} {key}".strip().replace("_", " ")
        if key in leave or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, path=name)
        elif isinstance(value, (list, tuple)):
            yield name, (" x " if key == "size" else ", ").join(str(one) for one in value)
        else:
            yield name, str(value)


def _time(text: str) -> str:
    """ISO 8601 in UTC as people read it."""
    return text.replace("T", " ").replace("+00:00", " UTC")
