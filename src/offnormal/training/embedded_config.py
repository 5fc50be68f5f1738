"""What a fit of a detector that learns from embeddings is told besides what every training is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from offnormal.config.fit import TrainConfig


class EmbeddedTrainConfig(TrainConfig):
    """offnormal fit of a detector that learns from embeddings."""

    embeddings_dir: Path = Path("~/.cache/offnormal/embeddings")
    """Folder in which embeddings of videos are kept for further fits."""
    embeddings_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Gigabytes kept there, the ones used last; 0: keep none."""
