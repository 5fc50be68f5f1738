"""A fit on embeddings, killed when the embedder has begun to learn, goes on as if nothing had been."""

from __future__ import annotations

import pytest

from offnormal.bundle import load
from tests.footage import write_footage
from tests.training.test_resume import fit, killed, losses


@pytest.mark.parametrize("target", ["detached", "teacher"])
@pytest.mark.slow
def test_a_killed_fit_is_gone_on_with_and_gives_the_same(tmp_path, target):
    data = write_footage(tmp_path / "yard", train=4, frames=16)
    arguments = ["embedding_ae", "--data", data, "--device", "cpu", "--threads", 1, "--size", 32, "--frames", 3]
    arguments += ["--hop", 3, "--hidden", 16, 8, "--batch-size", 5, "--epochs", 20, "--views", 1, "--target", target]
    arguments += ["--unfreeze", "blocks.6", "--finetune-from", 5, "--embeddings-dir", tmp_path / "kept"]
    whole = fit(*arguments, "--out", tmp_path / "whole")
    broken = killed(15, tmp_path / "broken", *arguments, "--out", tmp_path / "broken")
    assert fit("embedding_ae", "--resume", broken) == broken
    assert load(broken).hash == load(whole).hash
    assert load(broken).calibration.scores == load(whole).calibration.scores
    assert losses(broken) == losses(whole)
    assert not (broken / "checkpoints").exists()
