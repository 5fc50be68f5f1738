"""offnormal import: weights that a method's published code has saved -> a bundle in a run folder."""

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
    """The class of a detector that can be made of published weights."""

    def from_reference(
        self, states: Sequence[Mapping[str, Tensor]], options: DetectorOptions, **chosen: object
    ) -> Detector:
        """The fitted detector of the state dicts that were given, one a file; chosen: what they do not say."""
        ...


def import_config(detector: str) -> type[ImportConfig]:
    """The configuration of `import` with the options of one detector under `detector`."""
    found = registry.resolve("detectors", detector)
    options: type[DetectorOptions] = getattr(found, "ImportOptions", found.Options)  # where some are of other networks
    base: type[ImportConfig] = getattr(found, "Import", ImportConfig)  # where more is asked than files
    name = f"Import{options.__name__.removesuffix('Options')}"
    return create_model(name, __base__=base, detector=options.as_field())


def import_run(name: str, config: ImportConfig) -> Run:
    """Make a bundle of published weights; without normals it has no calibration.

    Only tensors are read: a file that holds a whole module is refused with the lines that convert it. Raises
    UsageError, WeightsError, or ConfigError for options that are not those of the weights.
    """
    if not config.weights:
        raise UsageError(f"import {name} needs the files that the published code has saved: --weights FILE ...")
    made: object = registry.resolve("detectors", name)
    if not isinstance(made, _Importable):
        raise UsageError(f"import {name}: no published weights of it can be read")
    options: DetectorOptions = config.detector  # type: ignore[attr-defined]
    files = [to_local_path(path) for path in config.files]
    detector = made.from_reference([read_weights(path) for path in files], options, **config.chosen)
    imported: dict[str, object] = {path.name: sha256_of(path) for path in files}
    run = new_run(config.out, name, "imported")
    run.log("start", verb="import", detector=name, weights=imported)
    bundle = Bundle(detector.eval(), card={"imported": imported})
    bundle.save(run.path / "bundle")
    run.log("done", bundle=bundle.hash)
    run.bundle = bundle
    return run
