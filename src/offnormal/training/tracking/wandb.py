"""Weights & Biases: one of its runs, online, or with WANDB_MODE=offline in the run's folder."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from PIL import Image

from offnormal.errors import ConfigError
from offnormal.redact import redact
from offnormal.training.tracking.tracker import About, Point


class WandB:
    """A run whose steps are the training's; `project` may be entity/project."""

    package: ClassVar[str] = "wandb"

    def __init__(self, about: About, ident: str | None) -> None:
        import wandb

        entity, _, project = about.project.rpartition("/")
        self.ident = ident or secrets.token_hex(4)
        # what the program printed, its arguments and its sources stay here: they may hold secrets
        settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True)
        self._run: Any = wandb.init(
            entity=entity or None,
            project=project,
            id=self.ident,
            name=about.name,
            dir=str(about.folder),
            resume="allow",
            reinit="create_new",  # beside a run that the caller has open, never as part of it
            settings=settings,
        )
        if self._run.offline:
            folder = about.folder / "wandb" / f"offline-run-*-{self.ident}"
            self.place = f"offline; wandb sync --append {folder}"
        else:
            self.place = redact(self._run.url or "")
        self._step = self._run.step  # smaller ones are not taken

    @staticmethod
    def check() -> None:
        """ConfigError when nobody is logged in; asks on a terminal, as `wandb login` does."""
        import wandb

        if wandb.setup().settings.mode != "online":
            return
        try:
            wandb.login()
        except wandb.errors.UsageError as error:
            raise ConfigError(
                f"--track wandb: {redact(str(error))} Or set WANDB_API_KEY, or WANDB_MODE=offline to send it later"
            ) from None
        except wandb.Error:
            return  # cannot be reached now; tried again while it learns

    def configure(self, values: Mapping[str, Any]) -> None:
        """As the run's configuration."""
        self._run.config.update(dict(values), allow_val_change=True)

    def points(self, points: Sequence[Point]) -> None:
        """As history, but for steps that it has already."""
        for point in points:
            if point.step >= self._step:
                self._run.log(point.values, step=point.step)
                self._step = point.step

    def rewind(self, step: int) -> None:
        """History cannot be taken back: the first values of each step stay."""

    def summary(self, values: Mapping[str, float | str], step: int) -> None:
        """As the run's summary."""
        self._run.summary.update(dict(values))

    def picture(self, name: str, png: bytes, step: int) -> None:
        """As an image of the last step."""
        import wandb

        self._run.log({name: wandb.Image(Image.open(io.BytesIO(png)))}, step=max(step, self._step))

    def close(self, *, failed: bool) -> None:
        """Waits until everything was sent."""
        self._run.finish(exit_code=1 if failed else 0)
