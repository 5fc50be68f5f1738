"""A saved detector with its calibration: a folder of safetensors, YAML, and JSON files that cannot run code.

model.safetensors   weights and statistics      config.yaml   detector, its options, its input
calibration.json    thresholds                  card.json     versions, data, licenses, sha256 of each file
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
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

from offnormal import registry
from offnormal.backbones.weights import sha256_of
from offnormal.calibration.calibration import Calibration
from offnormal.config.validation import format_validation_error
from offnormal.detectors.base import Detector
from offnormal.errors import BundleError, CalibrationError, OffnormalError, counted
from offnormal.files import new_folder, write_text
from offnormal.input_files import check_regular, load_json, load_yaml, read_text
from offnormal.sources.privacy import parse_mask, read_privacy_mask
from offnormal.tensors import add_tensors, write_tensors
from offnormal.types import InputSpec

FORMAT_VERSION = 2  # 2: calibrations contain the rank for the check of the guarantee
_DAMAGED = (  # what wrong values raise in the constructors of networks and in torch
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, SafetensorError, TypeError,
    ValueError,
)  # fmt: skip
_MODEL, _CONFIG, _CALIBRATION, _CARD = "model.safetensors", "config.yaml", "calibration.json", "card.json"


@dataclass(slots=True)
class Bundle:
    """A fitted detector, its calibration if it has one, and a card that records its origin."""

    detector: Detector
    calibration: Calibration | None = None
    card: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None  # folder that it was saved to or loaded from
    hash: str = ""  # sha256 of model and configuration, first 16 characters

    def __post_init__(self) -> None:
        self.hash = self.hash or state_hash(self.detector)

    @property
    def input(self) -> InputSpec:
        """The detector's input, with the privacy mask of the calibration."""
        if self.calibration is None or self.calibration.mask is None:
            return self.detector.input
        return replace(self.detector.input, mask=self.calibration.mask)

    def input_with_mask(self, mask: Path | None) -> InputSpec:
        """Return the input with another privacy mask, if a mask file is given.

        Raises CalibrationError if the threshold was calibrated without this mask.
        """
        if mask is None:
            return self.input
        privacy_mask = read_privacy_mask(mask)
        if self.calibration is not None and privacy_mask != self.input.mask:
            calibrated_with = "another mask" if self.input.mask is not None else "no mask"
            raise CalibrationError(
                f"--privacy-mask {mask}: this bundle was calibrated with {calibrated_with}, so its threshold does not "
                "hold. Calibrate with this mask first (offnormal calibrate --privacy-mask), or omit it"
            )
        return replace(self.input, mask=privacy_mask)

    def save(self, path: str | Path) -> Path:
        """Write the bundle folder atomically.

        Raises BundleError if the path exists and is not a bundle, and OffnormalError if the disk is full.
        """
        target = Path(path)
        self.detector.require_fitted()
        if target.exists() and not (target / _CARD).is_file():
            raise BundleError(f"{target} exists and is not a bundle: choose another path, or remove it")
        with new_folder(target) as folder:
            write_tensors(folder / _MODEL, self.detector.state_dict())
            write_text(folder / _CONFIG, yaml.safe_dump(describe(self.detector), sort_keys=False, allow_unicode=True))
            if self.calibration is not None:
                _write_calibration(folder, self.calibration)
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

    def replace_calibration(self, calibration: Calibration) -> None:
        """Replace the calibration, also on disk if the bundle is saved.

        Raises CalibrationError if it belongs to another bundle.
        """
        if calibration.bundle != self.hash:
            raise CalibrationError(
                f"this calibration belongs to bundle {calibration.bundle}, expected {self.hash}; calibrate this bundle"
            )
        self.calibration = calibration
        if self.path is not None:
            _write_calibration(self.path, calibration)


def load(path: str | Path, *, calibrated: bool = True) -> Bundle:
    """Load a bundle, or the bundle of a run folder, and check it against its card; needs no network.

    calibrated: whether to load the calibration; if not, a damaged one does not matter.
    Raises BundleError if the bundle is missing, damaged, incomplete, or of another format.
    """
    folder = Path(path)
    if (folder / "bundle" / _CARD).is_file():
        folder = folder / "bundle"
    if not (folder / _CARD).is_file():
        raise BundleError(f"{folder}: no bundle found; expected a folder with {_CARD}, as written by offnormal fit")
    try:
        card = load_json(read_text(folder / _CARD))
        file_format = card["format_version"]
        if file_format != FORMAT_VERSION:
            is_newer = isinstance(file_format, int) and file_format > FORMAT_VERSION
            advice = "update offnormal" if is_newer else "fit it again"
            raise BundleError(f"{folder}: bundle format {file_format} found, {FORMAT_VERSION} expected; {advice}")
        for name, expected in card["sha256"].items():
            if sha256_of(folder / name) != expected:
                raise BundleError(f"{folder / name}: sha256 differs from {_CARD}; copy the bundle again")
        config = load_yaml(read_text(folder / _CONFIG))
        detector = rebuild(config)
        check_regular(folder / _MODEL)
        detector.load_state(load_file(folder / _MODEL))
        calibration = None
        if calibrated and (folder / _CALIBRATION).exists():
            calibration = Calibration.from_json(load_json(read_text(folder / _CALIBRATION)))
            if calibration.bundle != card["bundle"]:
                raise BundleError(f"{folder / _CALIBRATION}: belongs to another bundle; calibrate again")
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
    detector.eval()
    return Bundle(detector, calibration, card, folder, card["bundle"])


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
    detector = detector_class(detector_class.Options.model_validate(options), _parse_input(stored.input))
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
    """Validate the stored input as strictly as flags; ValueError with the key and the value."""
    if unknown := sorted(set(values) - {entry.name for entry in fields(InputSpec)}):
        raise ValueError(f"input: unknown key {unknown[0]!r}")
    mask = values.get("mask")
    parsed = {"mask": parse_mask(mask)} if isinstance(mask, Mapping) else {}
    return TypeAdapter(InputSpec).validate_python({**values, **parsed})


def state_hash(detector: Detector) -> str:
    """Return the sha256 of configuration and tensors, first 16 characters: equal detectors have equal hashes."""
    digest = hashlib.sha256(json.dumps(describe(detector), sort_keys=True).encode())
    add_tensors(digest, detector.state_dict())
    return digest.hexdigest()[:16]


def _write_calibration(folder: Path, calibration: Calibration) -> None:
    write_text(folder / _CALIBRATION, json.dumps(calibration.to_json(), indent=1) + "\n")
