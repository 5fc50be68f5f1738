"""The data card and the model card: the facts about the data and the model of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from offnormal.drawing.wording import NONE
from offnormal.errors import counted, rounded, score_text
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Fact, Facts
from offnormal.report.blocks.scores import by_label


class _Section(BaseModel):
    """A section of a bundle's card; unknown keys are kept."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


class _FittedData(_Section):
    name: str = NONE
    layout: str = NONE
    images: int | None = None  # number of images, frames, or clips
    videos: int | None = None
    unit: str = ""
    skipped: int = 0
    fingerprint: str = NONE


class _Weights(_Section):
    backbone: str | None = None
    name: str | None = None
    source: str = NONE
    license: str | None = None
    size: int | tuple[int, ...] | None = None
    sha256: str | None = None


class _Card(_Section):
    data: _FittedData | None = None
    weights: tuple[_Weights, ...] | None = None
    versions: dict[str, object] | None = None
    machine: dict[str, object] | None = None
    sha256: dict[str, str] | None = None
    bundle: object = None
    created: str | None = None
    format_version: object = None

    @property
    def other_keys(self) -> Mapping[str, object]:
        """Keys without a field here, such as the detector and its input."""
        return self.model_extra or {}


def data_card(evaluation: Evaluation, card: Mapping[str, object]) -> Block:
    """The test data, the scoring speed, and the training data."""
    dataset, table, traits = evaluation.dataset, evaluation.table, TRAITS[evaluation.unit]
    facts = [Fact("dataset", dataset.name), Fact("layout", dataset.layout)]
    facts += [Fact("category", dataset.category)] if dataset.category is not None else []
    facts.append(Fact("folder", dataset.root.as_posix(), code=True))
    facts.append(Fact("test data", _tested_on(evaluation)))
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
        facts.append(
            Fact("masks", _count_text(sum(item.masks is not None for item in dataset.test), len(dataset.test)))
        )
    if seconds := evaluation.seconds_per_unit:
        speed = (
            f"{rounded(1000 * seconds)} ms per {traits.noun[0]}, including decoding ({rounded(1 / seconds)} per second)"
        )
        facts.append(Fact("scoring time", speed))
    facts.append(Fact("fingerprint", evaluation.fingerprint, code=True))
    return Block(name="data", title="Data", elements=[Facts(facts + fitted_on(card))], style="card half")


def _tested_on(evaluation: Evaluation) -> str:
    """The number of units by label, and of items if units are parts of them."""
    table, traits = evaluation.table, TRAITS[evaluation.unit]
    numbers = [f"{scores.size:,} {name}" for name, scores in by_label(evaluation).items() if scores.size]
    items = f" in {counted(len(table.items), *traits.item)}" if traits.item != traits.noun else ""
    return f"{counted(int(table.tested.sum()), *traits.noun)}{items}: {', '.join(numbers) or NONE}"


def fitted_on(card: Mapping[str, object]) -> list[Fact]:
    """The training data, as far as the card contains it."""
    fitted = _Card.model_validate(card).data
    if fitted is None:
        return []
    source = f"{fitted.name}, {fitted.layout} layout"
    amount = _training_data_text(fitted)
    facts = [Fact("training data", f"{amount} of {source}" if amount else source)]
    facts.append(Fact("training fingerprint", fitted.fingerprint, code=True))
    return facts + [Fact("skipped in training", f"{fitted.skipped}")] * bool(fitted.skipped)


def _training_data_text(fitted: _FittedData) -> str:
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
    """The detector with its options and input, weights with licenses, versions, and hashes."""
    contents = _Card.model_validate(card)
    facts = [Fact("bundle", evaluation.bundle, code=True)]
    facts += [Fact(name, value) for name, value in _flat(contents.other_keys)]
    if contents.created is not None:
        facts.append(Fact("fitted", _time(contents.created)))
    for weights in contents.weights or ():
        about = [weights.source, f"license {weights.license or 'not stated'}"]
        if isinstance(weights.size, tuple) and len(weights.size) == 2:
            about.append(f"made for {weights.size[0]}x{weights.size[1]} pixels")
        facts.append(Fact(f"weights of {weights.backbone or weights.name or 'weights'}", "; ".join(about)))
        if weights.sha256:
            facts.append(Fact("sha256 of the weights", weights.sha256, code=True))
    calibration = evaluation.calibration
    if calibration is not None:
        facts.append(Fact("calibration", calibration.id, code=True))
        facts.append(Fact("calibrated", _time(calibration.created)))
        if calibration.pixel_threshold is not None:
            facts.append(Fact("pixel threshold", score_text(calibration.pixel_threshold)))
    for name, values in (("versions", contents.versions), ("machine", contents.machine)):
        if texts := [f"{key} {value}" for key, value in _flat(values or {})]:
            facts.append(Fact(name, ", ".join(texts)))
    facts += [Fact(f"sha256 of {name}", digest, code=True) for name, digest in (contents.sha256 or {}).items()]
    return Block(name="model", title="Model", elements=[Facts(facts)], style="card half")


def detector_name(card: Mapping[str, object]) -> str:
    """Detector and backbone, as far as the card names them."""
    contents = _Card.model_validate(card)
    detector = contents.other_keys.get("detector")
    name = detector.get("name") if isinstance(detector, Mapping) else detector
    backbones = [weights.backbone for weights in contents.weights or ()]
    return " on ".join(str(text) for text in (name, *backbones) if text)


def _count_text(number: int, total: int) -> str:
    return "none" if not number else "all items" if number == total else f"{number:,} of {total:,} items"


def _flat(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, in order and without None."""
    for key, value in values.items():
        name = f"{path} {key}".strip().replace("_", " ")
        if value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, (list, tuple)):
            yield name, ("x" if key == "size" else ", ").join(map(str, value))
        else:
            yield name, str(value)


def _time(text: str) -> str:
    """A time in ISO 8601 and UTC, formatted for people."""
    return text.replace("T", " ").replace("+00:00", " UTC")
