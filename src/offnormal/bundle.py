"""A saved detector with its calibration: a folder of safetensors, YAML, and JSON files that cannot run code.

model.safetensors    weights and statistics              config.yaml       detector, its options, its input
calibrations/N.json  thresholds; never changed           calibration.json  list of the calibrations, the current one
card.json            versions, data, licenses, sha256 of each file
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from offnormal import registry
from offnormal.backbones.weights import sha256_of
from offnormal.calibration.calibration import Calibration
from offnormal.calibration.history import Entry, History
from offnormal.config.validation import format_validation_error
from offnormal.detectors.base import Detector
from offnormal.errors import BundleError, CalibrationError, OffnormalError, UsageError, counted
from offnormal.file_lock import file_lock
from offnormal.files import new_file, new_folder, restore_folder, write_text
from offnormal.input_files import load_json, load_yaml, read_text
from offnormal.sources.privacy import parse_mask, read_privacy_mask
from offnormal.tensors import add_tensors, write_tensors
from offnormal.types import InputSpec

log = logging.getLogger(__name__)
FORMAT_VERSION = 3  # 3: a list of calibrations
_DAMAGED = (  # what wrong values raise in the constructors of networks and in torch
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, SafetensorError, TypeError,
    ValueError,
)  # fmt: skip
_MODEL, _CONFIG, _CALIBRATION, _CARD = "model.safetensors", "config.yaml", "calibration.json", "card.json"
_CALIBRATIONS = "calibrations"


@dataclass(slots=True)
class Bundle:
    """A fitted detector, its calibration if it has one, and a card that records its origin."""

    detector: Detector
    calibration: Calibration | None = None
    card: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None  # folder that it was saved to or loaded from
    hash: str = ""  # sha256 of model and configuration, first 16 characters
    history: History = field(default_factory=History)
    loaded: dict[int, Calibration] = field(default_factory=dict, repr=False)  # of the history; the others are on disk
    config: dict[str, Any] = field(default_factory=dict, repr=False)  # as stored; empty: not yet

    def __post_init__(self) -> None:
        self.hash = self.hash or state_hash(self.detector)

    @property
    def input(self) -> InputSpec:
        """The detector's input, with the privacy mask of the calibration."""
        if self.calibration is None or self.calibration.mask is None:
            return self.detector.input
        return replace(self.detector.input, mask=self.calibration.mask)

    @property
    def contents(self) -> frozenset[str]:
        """Keys of the bytes of all items that the detector was trained on, or that its threshold was set on."""
        calibrated_on = () if self.calibration is None else self.calibration.contents
        return frozenset((*self.card.get("data", {}).get("contents", ()), *calibrated_on))

    def input_with_mask(self, mask: Path | None, max_pixels: int | None = None) -> InputSpec:
        """Return the input with another privacy mask, and another limit of image files, if they are given.

        Raises CalibrationError if the threshold was calibrated without this mask.
        """
        spec = self.input if max_pixels is None else replace(self.input, max_pixels=max_pixels)
        if mask is None:
            return spec
        privacy_mask = read_privacy_mask(mask)
        if self.calibration is not None and privacy_mask != self.input.mask:
            calibrated_with = "another mask" if self.input.mask is not None else "no mask"
            raise CalibrationError(
                f"--privacy-mask {mask}: this bundle was calibrated with {calibrated_with}, so its threshold does not "
                "hold. Calibrate with this mask first (offnormal calibrate --privacy-mask), or omit it"
            )
        return replace(spec, mask=privacy_mask)

    def save(self, path: str | Path) -> Path:
        """Write the bundle folder atomically; calibrations that other programs added to it stay.

        Raises BundleError if the path exists and is not a bundle, and OffnormalError if the disk is full.
        """
        target = Path(path)
        self.detector.require_fitted()
        if self.path is not None and target.resolve() == self.path.resolve():
            with self._newest_history():
                return self._write(target)
        return self._write(target)

    def _write(self, target: Path) -> Path:
        if target.exists() and not (target / _CARD).is_file():
            raise BundleError(f"{target} exists and is not a bundle: choose another path, or remove it")
        if self.calibration is not None:
            data = self.card.get("data", {})
            self._add(self.calibration, source="fit", fingerprint=data.get("fingerprint"))
        config = self.config or describe(self.detector)
        with new_folder(target) as folder:
            with new_file(folder / _MODEL) as file:
                write_tensors(file, self.detector.state_dict())
            write_text(folder / _CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            for entry in self.history.entries:
                _write_calibration(folder, entry.number, self._calibration(entry.number))
            _write_history(folder, self.history)
            self.card = {
                **self.card,
                "format_version": FORMAT_VERSION,
                "bundle": self.hash,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": {
                    "offnormal": version("offnormal"),
                    "torch": torch.__version__,
                    "timm": version("timm"),
                    "python": platform.python_version(),
                },
                "weights": [card.model_dump(mode="json") for card in self.detector.cards()],
                "sha256": {name: sha256_of(folder / name) for name in (_MODEL, _CONFIG)},
            }
            write_text(folder / _CARD, json.dumps(self.card, indent=2, ensure_ascii=False) + "\n")
        self.path = target
        return target

    def replace_calibration(
        self, calibration: Calibration, *, source: str, fingerprint: str | None = None
    ) -> Entry | None:
        """Add a calibration to the history and make it current, also on disk; return the one that applied before.

        What other programs added to the bundle on disk since it was loaded is in the history, too.
        source, fingerprint: of its normal data. Raises CalibrationError if it belongs to another bundle.
        """
        if calibration.bundle != self.hash:
            raise CalibrationError(
                f"this calibration belongs to bundle {calibration.bundle}, expected {self.hash}; calibrate this bundle"
            )
        with self._newest_history():
            before = self.history.current_entry
            is_new = self._add(calibration, source=source, fingerprint=fingerprint)
            if is_new and self.path is not None:
                _write_calibration(self.path, self.history.entries[-1].number, calibration)
                _write_history(self.path, self.history)  # from now on it applies
        return before

    def copy(self) -> Bundle:
        """The same bundle with all its calibrations, not on disk."""
        calibrations = {entry.number: self._calibration(entry.number) for entry in self.history.entries}
        return replace(self, card=dict(self.card), path=None, loaded=calibrations)

    def undo_calibration(self) -> None:
        """Undo the last change of the current calibration, a new one or `use_calibration`; CalibrationError if none."""
        self._change_history(History.undo)

    def use_calibration(self, number: int) -> None:
        """Make the calibration of this number current; CalibrationError if there is none."""
        self._change_history(lambda history: history.use(number))

    def _change_history(self, change: Callable[[History], History]) -> None:
        with self._newest_history():
            history = change(self.history)
            assert history.current is not None
            self.calibration, self.history = self._calibration(history.current), history
            if self.path is not None:
                _write_history(self.path, history)

    @contextlib.contextmanager
    def _newest_history(self) -> Iterator[None]:
        """Read the history of a bundle on disk again, and let no other program change it meanwhile."""
        if self.path is None:
            yield
            return
        with file_lock(self.path / _CALIBRATIONS / ".lock"):
            self.history = _read_history(self.path, self.hash, is_needed=False)
            yield

    def _add(self, calibration: Calibration, *, source: str, fingerprint: str | None) -> bool:
        """Make a calibration current; return whether it has a new number, unlike one that already was current."""
        current, self.calibration = self.history.current_entry, calibration
        if current is not None and current.id == calibration.id:
            return False
        number = 1 if self.path is None else _unused_number(self.path)
        self.history = self.history.add(calibration, source=source, fingerprint=fingerprint, number=number)
        self.loaded[self.history.entries[-1].number] = calibration
        return True

    def _calibration(self, number: int) -> Calibration:
        """A calibration of the history; BundleError or CalibrationError if its file is missing or damaged."""
        if number not in self.loaded:
            assert self.path is not None
            calibration = _read_calibration(self.path, number, self.hash)
            if calibration.id != self.history.entry(number).id:
                file = self.path / _calibration_file(number)
                raise CalibrationError(f"{file}: is not the calibration that {_CALIBRATION} lists; calibrate again")
            self.loaded[number] = calibration
        return self.loaded[number]


def load(path: str | Path, *, calibrated: bool = True) -> Bundle:
    """Load a bundle, or the bundle of a run folder, and check it against its card; needs no network.

    calibrated: whether to load the calibration; if not, a damaged one does not matter.
    Raises BundleError if the bundle is missing, damaged, incomplete, or of another format.
    """
    if not isinstance(path, str | Path):
        raise UsageError(f"load needs the path of a bundle; got {type(path).__name__}")
    folder = Path(path)
    restore_folder(folder)
    restore_folder(folder / "bundle")
    if (folder / "bundle" / _CARD).is_file():
        folder = folder / "bundle"
    if not (folder / _CARD).is_file():
        raise BundleError(f"{folder}: no bundle found; expected a folder with {_CARD}, as written by offnormal fit")
    try:
        card = load_json(read_text(_file_of(folder, _CARD)))
        file_format = card["format_version"]
        if file_format != FORMAT_VERSION:
            is_newer = isinstance(file_format, int) and file_format > FORMAT_VERSION
            advice = "update offnormal" if is_newer else "fit it again"
            raise BundleError(f"{folder}: bundle format {file_format} found, {FORMAT_VERSION} expected; {advice}")
        _check_files(folder, card["sha256"])
        config = load_yaml(read_text(folder / _CONFIG))
        detector = rebuild(config)
        tensors = load_file(folder / _MODEL)
        if (stored_hash := _hash_of(config, tensors)) != card["bundle"]:
            raise BundleError(
                f"{folder}: model and configuration have hash {stored_hash}, but {_CARD} says {card['bundle']}: they "
                "belong to another bundle; copy the whole bundle again"
            )
        detector.load_state(tensors)
        detector.eval()
        bundle = Bundle(detector, None, card, folder, stored_hash, config=config)
        bundle.history = _read_history(folder, bundle.hash, is_needed=calibrated)
        if calibrated and bundle.history.current is not None:
            bundle.calibration = bundle._calibration(bundle.history.current)
        return bundle
    except OffnormalError:
        raise
    except FileNotFoundError as error:
        raise BundleError(f"{error.filename}: missing from the bundle; copy the bundle again") from None
    except OSError as error:
        raise BundleError(f"{error.filename or folder}: cannot be read ({error.strerror}); copy it again") from None
    except _DAMAGED as error:
        text = format_validation_error(error) if isinstance(error, ValidationError) else str(error)
        reason = text or type(error).__name__
        raise BundleError(f"{folder}: damaged bundle ({reason}); copy it again, or fit again") from None


def describe(detector: Detector) -> dict[str, object]:
    """Return everything except tensors that is needed to rebuild the detector, as plain values."""
    options = detector.options.model_dump(mode="json")
    if "weights" in options:
        options["weights"] = None  # a path on the machine of the fit
    spec = {**asdict(detector.input), "size": list(detector.input.size), "targets": list(detector.input.targets)}
    return {
        "detector": {"name": detector.name, **options},
        "input": {key: value for key, value in spec.items() if key != "mask" or value is not None},
        "weights": [card.model_dump(mode="json") for card in detector.cards()],
    }


def rebuild(config: Mapping[str, Any]) -> Detector:
    """Rebuild the detector from the values of `describe`, without its tensors."""
    stored = _Stored.model_validate(config)
    options = dict(stored.detector)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"detector.name: {name!r}; expected the name of a detector")
    detector_class = registry.resolve("detectors", name)
    parsed, spec = detector_class.Options.model_validate(options), _parse_input(stored.input)
    with registry.plugin_errors("detectors", name, "its constructor"):
        detector = detector_class(parsed, spec)
    detector.restore_cards(stored.weights)
    if len(detector.cards()) != len(stored.weights):
        raise ValueError(f"weights: {counted(len(stored.weights), 'card')}; expected {len(detector.cards())}")
    return detector


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    detector: dict[str, Any]
    input: dict[str, Any]
    weights: list[dict[str, Any]]


def _parse_input(values: dict[str, Any]) -> InputSpec:
    """Validate the stored input strictly."""
    if unknown := sorted(map(str, set(values) - {entry.name for entry in fields(InputSpec)})):
        raise ValueError(f"input: unknown key {unknown[0]!r}")
    mask = values.get("mask")
    parsed: dict[str, Any] = {"mask": parse_mask(mask)} if isinstance(mask, Mapping) else {}
    plain = {key: value for key, value in values.items() if key not in parsed}
    return replace(TypeAdapter(InputSpec).validate_json(json.dumps(plain), strict=True), **parsed)


def state_hash(detector: Detector) -> str:
    """Return the sha256 of configuration and tensors, first 16 characters: equal detectors have equal hashes."""
    return _hash_of(describe(detector), detector.state_dict())


def _hash_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    add_tensors(digest, tensors)
    return digest.hexdigest()[:16]


def _check_files(folder: Path, checksums: object) -> None:
    """BundleError unless every file has the sha256 of the card, which must list model and configuration."""
    listed = checksums if isinstance(checksums, dict) else {}
    if missing := [name for name in (_MODEL, _CONFIG) if name not in listed]:
        raise BundleError(
            f"{folder / _CARD}: no sha256 of {' and '.join(missing)}, so they cannot be checked; copy the bundle again"
        )
    for name, expected in listed.items():
        if sha256_of(_file_of(folder, name)) != expected:
            raise BundleError(f"{folder / name}: sha256 differs from {_CARD}; copy the bundle again")


def _file_of(folder: Path, name: str) -> Path:
    """The path of a file of the bundle; BundleError unless it is a regular file in its folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path}: is outside the bundle ({path.resolve()}); copy the bundle with its files again")
    if not path.exists():
        raise BundleError(f"{path}: missing from the bundle; copy the bundle again")
    if not path.is_file():
        raise BundleError(f"{path}: is not a regular file; copy the bundle again")
    return path


def _calibration_file(number: int) -> str:
    return f"{_CALIBRATIONS}/{number:03}.json"


def _unused_number(folder: Path) -> int:
    """The lowest number above those of all files; a killed program may have left one that is in no list."""
    return max(_stored_numbers(folder), default=0) + 1


def _stored_numbers(folder: Path) -> list[int]:
    names = (path.stem for path in (folder / _CALIBRATIONS).glob("*.json"))
    return sorted(int(name) for name in names if name.isdecimal())


def _write_calibration(folder: Path, number: int, calibration: Calibration) -> None:
    write_text(folder / _calibration_file(number), json.dumps(calibration.to_json(), indent=1) + "\n")


def _write_history(folder: Path, history: History) -> None:
    write_text(folder / _CALIBRATION, json.dumps(history.to_json(), indent=1, ensure_ascii=False) + "\n")


def _read_history(folder: Path, bundle: str, *, is_needed: bool) -> History:
    """The list of calibrations; empty if the bundle has none. is_needed: if not, a damaged one is made from the files.

    The list that is made has no current calibration.
    """
    if not os.path.lexists(folder / _CALIBRATION):
        return History()
    try:
        return History.from_json(load_json(read_text(_file_of(folder, _CALIBRATION))))
    except (CalibrationError, ValueError) as error:
        if is_needed:
            raise BundleError(f"{folder / _CALIBRATION}: {error}; calibrate again") from None
        log.warning("%s: %s; the list is rebuilt from the calibrations", folder / _CALIBRATION, error)
    history = History()
    for number in _stored_numbers(folder):
        with contextlib.suppress(CalibrationError, BundleError):
            calibration = _read_calibration(folder, number, bundle)
            history = history.add(calibration, source="unknown", fingerprint=None, number=number)
    return History(history.entries)


def _read_calibration(folder: Path, number: int, bundle: str) -> Calibration:
    file = _file_of(folder, _calibration_file(number))
    try:
        calibration = Calibration.from_json(load_json(read_text(file)))
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{file}: damaged ({error}); calibrate again") from None
    if calibration.bundle != bundle:
        raise BundleError(f"{file}: belongs to another bundle; calibrate again")
    return calibration
