"""What is uploaded of a run, and that it stays as it is."""

from __future__ import annotations

import pytest
import torch

from offnormal.training import checkpoint
from offnormal.training.upload import snapshot
from offnormal.training.upload.snapshot import files_of, freeze, freeze_checkpoint, stage


@pytest.fixture
def run(tmp_path):
    for name in ("log.jsonl", "config.yaml", "bundle/card.json", "bundle/model.safetensors", "bundle/zone.txt",
                 "tensorboard/events", "wandb/key", ".config.1.partial", ".upload/old", "upload.json"):  # fmt: skip
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    checkpoint.save(tmp_path / "run", "last", {"w": torch.zeros(3)}, {"step": 7})
    return tmp_path / "run"


def test_everything_but_hidden_files_and_checkpoints_is_listed_a_card_after_what_it_names(run):
    assert [held.name for held in files_of(run)] == [
        "config.yaml", "log.jsonl", "bundle/model.safetensors", "bundle/zone.txt", "tensorboard/events",
        "bundle/card.json",
    ]  # fmt: skip


def test_a_frozen_file_stays_while_the_log_grows_and_the_bundle_is_replaced(run):
    with stage(run) as staged:
        kept = {held.name: freeze(held, staged) for held in files_of(run)}
        with (run / "log.jsonl").open("a") as file:
            file.write("more")
        (run / "new").write_text("new")
        (run / "new").replace(run / "bundle/model.safetensors")
        assert kept["log.jsonl"].read_text() == "log.jsonl"
        assert kept["bundle/model.safetensors"].read_text() == "bundle/model.safetensors"
    assert not staged.exists()


def test_a_frozen_checkpoint_takes_no_space_and_outlives_the_next_one(run):
    with stage(run) as staged:
        kept = freeze_checkpoint(run, "last", staged)
        assert kept.files[0].path.stat().st_nlink == 2
        checkpoint.save(run, "last", {"w": torch.ones(3)}, {"step": 8})
        newer = freeze_checkpoint(run, "last", stage_again(staged))
        assert '"step": 7' in kept.files[1].path.read_text()
    assert kept.name.startswith("last-000007-")
    assert newer.name.startswith("last-000008-")
    assert [held.path.name for held in kept.files] == ["tensors.safetensors", "state.json"]


def stage_again(staged):
    (staged / "again").mkdir()
    return staged / "again"


def test_files_of_two_checkpoints_are_never_mixed(run, monkeypatch):
    keep, saved = snapshot._keep, []

    def replaced_between(path, target, *, linked):
        keep(path, target, linked=linked)
        if not saved:
            saved.append(checkpoint.save(run, "last", {"w": torch.ones(3)}, {"step": 8}))

    monkeypatch.setattr(snapshot, "_keep", replaced_between)
    with stage(run) as staged:
        found = freeze_checkpoint(run, "last", staged)
        assert checkpoint.load(run).state["step"] == 8
        assert found.name.startswith("last-000008-")
        (tensors, state) = (held.path for held in found.files)
        assert '"step": 8' in state.read_text()
        assert tensors.read_bytes() == (checkpoint.place(run, "last") / "tensors.safetensors").read_bytes()


def test_without_a_checkpoint_there_is_none(run):
    with stage(run) as staged:
        assert freeze_checkpoint(run, "best", staged) is None


def test_a_file_system_without_links_is_copied_from(run, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links")

    monkeypatch.setattr(snapshot.os, "link", refuse)
    with stage(run) as staged:
        assert freeze_checkpoint(run, "last", staged).name.startswith("last-000007-")
