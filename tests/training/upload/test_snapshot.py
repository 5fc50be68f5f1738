"""The uploaded files of a run, and their unchanging snapshots."""

from __future__ import annotations

import pytest
import torch

from offnormal.training import checkpoint
from offnormal.training.upload import snapshot
from offnormal.training.upload.snapshot import freeze, freeze_checkpoint, list_files, stage


@pytest.fixture
def run(tmp_path):
    for name in ("log.jsonl", "config.yaml", "bundle/card.json", "bundle/model.safetensors", "bundle/zone.txt",
                 "tensorboard/events", "wandb/key", ".config.1.partial", ".upload/old", "upload.json"):  # fmt: skip
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    checkpoint.save(tmp_path / "run", "last", {"w": torch.zeros(3)}, {"step": 7})
    return tmp_path / "run"


def test_all_but_hidden_files_and_checkpoints_are_listed_with_a_card_after_its_data(run):
    assert [file.name for file in list_files(run)] == [
        "config.yaml", "log.jsonl", "bundle/model.safetensors", "bundle/zone.txt", "tensorboard/events",
        "bundle/card.json",
    ]  # fmt: skip


def test_a_frozen_file_is_unaffected_by_a_growing_log_and_a_replaced_bundle(run):
    with stage(run) as staged:
        copies = {file.name: freeze(file, staged) for file in list_files(run)}
        with (run / "log.jsonl").open("a") as log:
            log.write("more")
        (run / "new").write_text("new")
        (run / "new").replace(run / "bundle/model.safetensors")
        assert copies["log.jsonl"].read_text() == "log.jsonl"
        assert copies["bundle/model.safetensors"].read_text() == "bundle/model.safetensors"
    assert not staged.exists()


def test_a_frozen_checkpoint_is_linked_and_outlives_the_next_one(run):
    with stage(run) as staged:
        frozen = freeze_checkpoint(run, "last", staged)
        assert frozen.files[0].path.stat().st_nlink == 2
        checkpoint.save(run, "last", {"w": torch.ones(3)}, {"step": 8})
        newer = freeze_checkpoint(run, "last", stage_again(staged))
        assert '"step": 7' in frozen.files[1].path.read_text()
    assert frozen.name.startswith("last-000007-")
    assert newer.name.startswith("last-000008-")
    assert [file.path.name for file in frozen.files] == ["tensors.safetensors", "state.json"]


def stage_again(staged):
    (staged / "again").mkdir()
    return staged / "again"


def test_files_of_two_checkpoints_are_never_mixed(run, monkeypatch):
    copy, saved = snapshot._copy, []

    def replace_in_between(path, target, *, link):
        copy(path, target, link=link)
        if not saved:
            saved.append(checkpoint.save(run, "last", {"w": torch.ones(3)}, {"step": 8}))

    monkeypatch.setattr(snapshot, "_copy", replace_in_between)
    with stage(run) as staged:
        frozen = freeze_checkpoint(run, "last", staged)
        assert checkpoint.load(run).state["step"] == 8
        assert frozen.name.startswith("last-000008-")
        (tensors, state) = (file.path for file in frozen.files)
        assert '"step": 8' in state.read_text()
        assert tensors.read_bytes() == (checkpoint.checkpoint_path(run, "last") / "tensors.safetensors").read_bytes()


def test_a_missing_checkpoint_is_none(run):
    with stage(run) as staged:
        assert freeze_checkpoint(run, "best", staged) is None


def test_a_file_system_without_links_is_copied(run, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links")

    monkeypatch.setattr(snapshot.os, "link", refuse)
    with stage(run) as staged:
        assert freeze_checkpoint(run, "last", staged).name.startswith("last-000007-")
