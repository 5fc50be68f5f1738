"""offnormal import: weights saved by a method's published code -> a bundle in a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from pydantic import create_model
from torch import Tensor

from offnormal import registry
from offnormal.backbones.weights import read_weights, sha256_of
from offnormal.bundle import Bundle
from offnormal.config.fit import ImportConfig
from offnormal.detectors.base import Detector, DetectorOptions
from offnormal.errors import UsageError
from offnormal.run import Run, new_run
from offnormal.sources.paths import to_local_path


@runtime_checkable
class _Importable(Protocol):
    """A detector class that can load published weights."""

    def from_reference(
        self, states: Sequence[Mapping[str, Tensor]], options: DetectorOptions, **chosen: object
    ) -> Detector:
        """Build the fitted detector from one state dict per file; chosen: arguments that the files do not contain."""
        ...


def import_config(detector: str) -> type[ImportConfig]:
    """Return the configuration of `import`, with the options of one detector under `detector`."""
    detector_class = registry.resolve("detectors", detector)
    # some import options and arguments differ from those of a fit
    options: type[DetectorOptions] = getattr(detector_class, "ImportOptions", detector_class.Options)
    base: type[ImportConfig] = getattr(detector_class, "Import", ImportConfig)
    name = f"Import{options.__name__.removesuffix('Options')}"
    return create_model(name, __base__=base, detector=options.config_field())


def import_run(name: str, config: ImportConfig) -> Run:
    """Create a bundle from published weights; it has no calibration, since there are no normals.

    Only tensors are read: a file with a whole module is refused with the lines that convert it. Raises UsageError,
    WeightsError, or ConfigError for options that do not match the weights.
    """
    if not config.weights:
        raise UsageError(f"import {name} needs the files saved by the published code: --weights FILE, once per file")
    detector_class: object = registry.resolve("detectors", name)
    if not isinstance(detector_class, _Importable):
        raise UsageError(f"import {name}: published weights of this detector are not supported")
    options: DetectorOptions = config.detector  # type: ignore[attr-defined]
    files = [to_local_path(path) for path in config.files]
    detector = detector_class.from_reference([read_weights(path) for path in files], options, **config.chosen)
    imported: dict[str, object] = {path.name: sha256_of(path) for path in files}
    run = new_run(config.out, name, "imported")
    run.log("start", verb="import", detector=name, weights=imported)
    bundle = Bundle(detector.eval(), card={"imported": imported})
    bundle.save(run.path / "bundle")
    run.log("done", bundle=bundle.hash)
    run.bundle = bundle
    return run
