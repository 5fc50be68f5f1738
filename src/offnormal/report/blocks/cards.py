"""What a report is based on, as two lists of facts: the data card and the model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from offnormal.drawing.wording import NONE, counted
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Fact, Facts
from offnormal.report.blocks.scores import by_label


class _Part(BaseModel):
    """A part of the card of a bundle; what it does not name is listed as it is."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


class _Fitted(_Part):
    name: str = NONE
    layout: str = NONE
    images: int | None = None  # or frames, or clips
    videos: int | None = None
    unit: str = ""
    skipped: int = 0
    fingerprint: str = NONE


class _Weights(_Part):
    backbone: str | None = None
    name: str | None = None
    source: str = NONE
    license: str | None = None
    size: int | tuple[int, ...] | None = None
    sha256: str | None = None


class _Card(_Part):
    data: _Fitted | None = None
    weights: tuple[_Weights, ...] | None = None
    versions: dict[str, object] | None = None
    machine: dict[str, object] | None = None
    sha256: dict[str, str] | None = None
    bundle: object = None
    created: str | None = None
    format_version: object = None

    @property
    def others(self) -> Mapping[str, object]:
        """Such as the detector and its input."""
        return self.model_extra or {}


def data_card(evaluation: Evaluation, card: Mapping[str, object]) -> Block:
    """What was tested on, how fast, and what the detector was fitted on."""
    dataset, table, traits = evaluation.dataset, evaluation.table, TRAITS[evaluation.unit]
    facts = [Fact("dataset", dataset.name), Fact("layout", dataset.layout)]
    facts += [Fact("category", dataset.category)] if dataset.category is not None else []
    facts.append(Fact("folder", dataset.root.as_posix(), code=True))
    facts.append(Fact("tested on", _tested_on(evaluation)))
    if dataset.split is not None:
        choice = dataset.split.classes
        shares = "/".join(f"{share:g}" for share in choice.shares)
        facts += [
            Fact("normal classes", ", ".join(choice.normal)),
            Fact("anomalous classes", ", ".join(choice.anomalous) or NONE),
            Fact("split", f"{shares} % of each normal class (training/test/calibration), seed {choice.seed}"),
        ]
    if evaluation.skipped:
        facts.append(Fact("skipped", counted(len(evaluation.skipped), "file", "files")))
    if groups := len({item.group for item in table.items} - {""}):
        facts.append(Fact(traits.group, f"{groups:,}"))
    if traits.pixel:
        facts.append(Fact("masks", _of_them(sum(item.masks is not None for item in dataset.test), len(dataset.test))))
    if seconds := evaluation.seconds_per_unit:
        speed = f"{1000 * seconds:.3g} ms for each {traits.noun[0]}, decoding included ({1 / seconds:,.3g} per second)"
        facts.append(Fact("scoring took", speed))
    facts.append(Fact("fingerprint", evaluation.fingerprint, code=True))
    return Block(name="data", title="Data", elements=[Facts(facts + fitted_on(card))], style="card half")


def _tested_on(evaluation: Evaluation) -> str:
    """The number of units by label, and of items where these are something else."""
    table, traits = evaluation.table, TRAITS[evaluation.unit]
    numbers = [f"{scores.size:,} {name}" for name, scores in by_label(evaluation).items() if scores.size]
    items = f" in {counted(len(table.items), *traits.item)}" if traits.item != traits.noun else ""
    return f"{counted(int(table.tested.sum()), *traits.noun)}{items}: {', '.join(numbers) or NONE}"


def fitted_on(card: Mapping[str, object]) -> list[Fact]:
    """What the detector was fitted on, as far as its card says."""
    fitted = _Card.model_validate(card).data
    if fitted is None:
        return []
    where = f"{fitted.name}, {fitted.layout} layout"
    what = _learned_from(fitted)
    facts = [Fact("fitted on", f"{what} of {where}" if what else where)]
    facts.append(Fact("fingerprint of these", fitted.fingerprint, code=True))
    return facts + [Fact("skipped in the fit", f"{fitted.skipped}")] * bool(fitted.skipped)


def _learned_from(fitted: _Fitted) -> str:
    videos, number = fitted.videos, fitted.images
    if videos is None:
        return "" if number is None else counted(number, "normal image", "normal images")
    if number is None:
        return counted(videos, "normal video", "normal videos")
    noun = "normal clip" if fitted.unit == "clip" else "normal frame"
    windows = counted(number, noun, f"{noun}s")
    if fitted.unit == "clip" and number == videos:  # one clip of each
        return windows
    return f"{windows} in {counted(videos, 'video', 'videos')}"


def model_card(evaluation: Evaluation, card: Mapping[str, object]) -> Block:
    """The detector: its options and input where the card has them, weights with licenses, versions, hashes."""
    known = _Card.model_validate(card)
    facts = [Fact("bundle", evaluation.bundle, code=True)]
    facts += [Fact(name, value) for name, value in _flat(known.others)]
    if known.created is not None:
        facts.append(Fact("fitted", _time(known.created)))
    for weights in known.weights or ():
        about = [weights.source, f"license {weights.license or 'not stated'}"]
        if isinstance(weights.size, tuple) and len(weights.size) == 2:
            about.append(f"made for {weights.size[0]} x {weights.size[1]} pixels")
        facts.append(Fact(f"weights of {weights.backbone or weights.name or 'weights'}", "; ".join(about)))
        if weights.sha256:
            facts.append(Fact("sha256 of these", weights.sha256, code=True))
    calibration = evaluation.calibration
    if calibration is not None:
        facts.append(Fact("calibration", calibration.id, code=True))
        facts.append(Fact("calibrated", _time(calibration.created)))
        if calibration.pixel_threshold is not None:
            facts.append(Fact("pixel threshold", f"{calibration.pixel_threshold:.6g}"))
    for name, values in (("versions", known.versions), ("machine", known.machine)):
        if texts := [f"{key} {value}" for key, value in _flat(values or {})]:
            facts.append(Fact(name, ", ".join(texts)))
    facts += [Fact(f"sha256 of {name}", digest, code=True) for name, digest in (known.sha256 or {}).items()]
    return Block(name="model", title="Model", elements=[Facts(facts)], style="card half")


def detector_name(card: Mapping[str, object]) -> str:
    """Detector and backbone in a few words, as far as the card names them."""
    known = _Card.model_validate(card)
    found = known.others.get("detector")
    named = found.get("name") if isinstance(found, Mapping) else found
    backbones = [weights.backbone for weights in known.weights or ()]
    return " on ".join(str(part) for part in (named, *backbones) if part)


def _of_them(number: int, total: int) -> str:
    return "none" if not number else "all items" if number == total else f"{number:,} of {total:,} items"


def _flat(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, in their order; None is left out."""
    for key, value in values.items():
        name = f"{path} {key}".strip().replace("_", " ")
        if value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, (list, tuple)):
            yield name, (" x " if key == "size" else ", ").join(str(one) for one in value)
        else:
            yield name, str(value)


def _time(text: str) -> str:
    """ISO 8601 in UTC as people read it."""
    return text.replace("T", " ").replace("+00:00", " UTC")
