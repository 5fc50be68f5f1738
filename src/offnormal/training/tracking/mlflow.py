"""MLflow: a run on the server, or in the database, that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from offnormal.redact import redact
from offnormal.training.tracking.tracker import About, Point, flat

_AT_ONCE = 1000  # metrics of a request, the server's limit
_PARAMETERS = 100  # of a request
_LONGEST = 500  # characters of a parameter or tag
_UNFIT = re.compile(r"[^\w\-. :/]")  # in names


class MLflow:
    """A run of the experiment that `project` names."""

    package: ClassVar[str] = "mlflow"

    def __init__(self, about: About, ident: str | None) -> None:
        from mlflow.tracking import MlflowClient, get_tracking_uri

        self._client = MlflowClient()
        if ident is None:
            experiment = self._client.get_experiment_by_name(about.project)
            made = experiment.experiment_id if experiment is not None else self._client.create_experiment(about.project)
            ident = self._client.create_run(made, run_name=about.name).info.run_id
        else:
            self._client.update_run(ident, status="RUNNING")
        self.ident = ident
        self.place = f"run {ident} in {redact(str(get_tracking_uri()))}"

    @staticmethod
    def check() -> None:
        """ImportError when the package is damaged. Its own retries are shortened: what fails is tried again here."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        import mlflow.tracking  # noqa: F401

        for name in ("mlflow", "alembic"):  # which tell of every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)

    def configure(self, values: Mapping[str, object]) -> None:
        """As parameters with dotted names."""
        from mlflow.entities import Param

        parameters = [Param(_fit(name), str(value)[:_LONGEST]) for name, value in flat(values).items()]
        for start in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(self.ident, params=parameters[start : start + _PARAMETERS])

    def points(self, points: Sequence[Point]) -> None:
        """As metrics; what it has already, to the millisecond, it does not take twice."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_fit(name), value, round(point.time_s * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(self.ident, metrics=metrics[start : start + _AT_ONCE])

    def rewind(self, step: int) -> None:
        """Metrics cannot be taken back: of a step that is taken anew both values stay."""

    def summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Numbers as metrics, anything else as tags."""
        for name, value in values.items():
            if isinstance(value, str):
                self._client.set_tag(self.ident, _fit(name), value[:_LONGEST])
            else:
                self._client.log_metric(self.ident, _fit(name), value, step=step)

    def picture(self, name: str, png: bytes, step: int) -> None:
        """As an artifact."""
        path = PurePosixPath(_fit(name))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{path.name}.png"
            file.write_bytes(png)
            self._client.log_artifact(self.ident, str(file), str(path.parent))

    def close(self, *, failed: bool) -> None:
        """As finished or failed."""
        self._client.set_terminated(self.ident, "FAILED" if failed else "FINISHED")


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name)
