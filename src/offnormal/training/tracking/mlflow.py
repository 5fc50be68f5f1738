"""MLflow: a run on the server, or in the database, of MLFLOW_TRACKING_URI."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from offnormal.redact import redact
from offnormal.training.tracking.tracker import Point, RunInfo, flatten

_METRICS = 1000  # per request, the server's limit
_PARAMETERS = 100  # per request
_MAX_TEXT = 500  # characters of a parameter or tag
_INVALID = re.compile(r"[^\w\-. :/]")  # characters in names


class MLflow:
    """A run of the experiment `project`."""

    package: ClassVar[str] = "mlflow"

    def __init__(self, info: RunInfo, ident: str | None) -> None:
        from mlflow.tracking import MlflowClient, get_tracking_uri

        self._client = MlflowClient()
        if ident is None:
            experiment = self._client.get_experiment_by_name(info.project)
            known_id = experiment.experiment_id if experiment is not None else None
            experiment_id = known_id or self._client.create_experiment(info.project)
            ident = self._client.create_run(experiment_id, run_name=info.name).info.run_id
        else:
            self._client.update_run(ident, status="RUNNING")
        self.ident = ident
        self.location = f"run {ident} in {redact(str(get_tracking_uri()))}"

    @staticmethod
    def check() -> None:
        """Raise ImportError if the package is damaged. Its retries are shortened: failed calls are tried again here."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        import mlflow.tracking  # noqa: F401

        for name in ("mlflow", "alembic"):  # these log every table that they create
            logging.getLogger(name).setLevel(logging.WARNING)

    def configure(self, values: Mapping[str, object]) -> None:
        """Log parameters with dotted names."""
        from mlflow.entities import Param

        parameters = [Param(_valid_name(name), str(value)[:_MAX_TEXT]) for name, value in flatten(values).items()]
        for start in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(self.ident, params=parameters[start : start + _PARAMETERS])

    def log_points(self, points: Sequence[Point]) -> None:
        """Log metrics. MLflow ignores repeated values with the same step and time."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_valid_name(name), value, round(point.time_s * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self.ident, metrics=metrics[start : start + _METRICS])

    def rewind(self, step: int) -> None:
        """Do nothing: metrics cannot be removed, so a repeated step has both values."""

    def log_summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Log numbers as metrics, and other values as tags."""
        for name, value in values.items():
            if isinstance(value, str):
                self._client.set_tag(self.ident, _valid_name(name), value[:_MAX_TEXT])
            else:
                self._client.log_metric(self.ident, _valid_name(name), value, step=step)

    def log_image(self, name: str, png: bytes, step: int) -> None:
        """Log an image as an artifact."""
        path = PurePosixPath(_valid_name(name))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{path.name}.png"
            file.write_bytes(png)
            self._client.log_artifact(self.ident, str(file), str(path.parent))

    def close(self, *, failed: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self.ident, "FAILED" if failed else "FINISHED")


def _valid_name(name: str) -> str:
    return _INVALID.sub("_", name)
