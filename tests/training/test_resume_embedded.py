"""A fit on embeddings that is killed in its fine-tuning stage and resumed."""

from __future__ import annotations

import pytest

from offnormal.bundle import load
from tests.footage import write_footage
from tests.training.test_resume import fit, kill_fit, losses


@pytest.mark.parametrize("target", ["detached", "teacher"])
@pytest.mark.slow
def test_a_killed_fit_is_resumed_with_the_same_result(tmp_path, target):
    data = write_footage(tmp_path / "yard", train=4, frames=16)
    arguments = ["embedding_ae", "--data", data, "--device", "cpu", "--threads", 1, "--size", 32, "--frames", 3]
    arguments += ["--hop", 3, "--hidden", 16, "--hidden", 8, "--batch-size", 5, "--epochs", 20, "--views", 1]
    arguments += ["--target", target]
    arguments += ["--unfreeze", "blocks.6", "--finetune-from", 5, "--embeddings-dir", tmp_path / "kept"]
    whole = fit(*arguments, "--out", tmp_path / "whole")
    interrupted = kill_fit(15, tmp_path / "interrupted", *arguments, "--out", tmp_path / "interrupted")
    assert fit("embedding_ae", "--resume", interrupted) == interrupted
    assert load(interrupted).hash == load(whole).hash
    assert load(interrupted).calibration.scores == load(whole).calibration.scores
    assert losses(interrupted) == losses(whole)
    assert not (interrupted / "checkpoints").exists()
