"""What a report is based on, as two lists of facts: the data card and the model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from offnormal.drawing.wording import NONE, counted
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Fact, Facts
from offnormal.report.blocks.scores import by_label

_SHOWN_APART = ("data", "weights", "versions", "machine", "sha256", "bundle", "created", "format_version")


def data_card(evaluation: Evaluation, card: Mapping[str, Any]) -> Block:
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


def fitted_on(card: Mapping[str, Any]) -> list[Fact]:
    """What the detector was fitted on, as far as its card says."""
    fitted: Mapping[str, Any] = card.get("data") or {}
    if not fitted:
        return []
    where = f"{fitted.get('name', NONE)}, {fitted.get('layout', NONE)} layout"
    what = _learned_from(fitted)
    facts = [Fact("fitted on", f"{what} of {where}" if what else where)]
    facts.append(Fact("fingerprint of these", str(fitted.get("fingerprint", NONE)), code=True))
    if fitted.get("skipped"):
        facts.append(Fact("skipped in the fit", f"{fitted['skipped']}"))
    return facts


def _learned_from(fitted: Mapping[str, Any]) -> str:
    videos, number = fitted.get("videos"), fitted.get("images")
    if videos is None:
        return "" if number is None else counted(number, "normal image", "normal images")
    if number is None:
        return counted(videos, "normal video", "normal videos")
    if fitted.get("things") == "clips" and number == videos:  # one clip of each
        return counted(number, "normal clip", "normal clips")
    windows = ("normal clip", "normal clips") if fitted.get("things") == "clips" else ("normal frame", "normal frames")
    return f"{counted(number, *windows)} in {counted(videos, 'video', 'videos')}"


def model_card(evaluation: Evaluation, card: Mapping[str, Any]) -> Block:
    """The detector: its options and input where the card has them, weights with licenses, versions, hashes."""
    facts = [Fact("bundle", evaluation.bundle, code=True)]
    facts += [Fact(name, value) for name, value in _flat(card, leave=_SHOWN_APART)]
    if "created" in card:
        facts.append(Fact("fitted", _time(str(card["created"]))))
    for weights in card.get("weights") or ():
        name = str(weights.get("backbone") or weights.get("name") or "weights")
        size = weights.get("size")
        about = [str(weights.get("source", NONE)), f"license {weights.get('licence') or 'not stated'}"]
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
    return Block(name="model", title="Model", elements=[Facts(facts)], style="card half")


def detector_name(card: Mapping[str, Any]) -> str:
    """Detector and backbone in a few words, as far as the card names them."""
    found = card.get("detector")
    named = found.get("name") if isinstance(found, Mapping) else found
    backbones = [weights.get("backbone") for weights in card.get("weights") or ()]
    return " on ".join(str(part) for part in (named, *backbones) if part)


def _of_them(number: int, total: int) -> str:
    return "none" if not number else "all items" if number == total else f"{number:,} of {total:,} items"


def _flat(values: Mapping[str, Any], leave: Sequence[str] = (), path: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, in their order; None is left out."""
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
