import errno

import pytest
import torch

from offnormal import files
from offnormal.errors import ConfigError, DataError, FitError
from offnormal.training import checkpoint


def train_linear(steps=3):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters(), betas=(0.5, 0.9))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)  # without state
    for _ in range(steps):
        model(torch.ones(4, 3)).square().sum().backward()
        adam.step()
        sgd.step()
    return model, {"adam": adam, "sgd": sgd}


def test_detector_and_optimizers_are_restored_bit_for_bit(tmp_path):
    model, optimizers = train_linear()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 3, "third": 1 / 3}, **optimizers)
    loaded = checkpoint.load(tmp_path)
    assert (loaded.state["step"], loaded.state["third"]) == (3, 1 / 3)
    assert all(torch.equal(loaded.detector()[key], value) for key, value in model.state_dict().items())
    restored, fresh = train_linear(steps=0)
    restored.load_state_dict(loaded.detector())
    for name, optimizer in fresh.items():
        checkpoint.load_optimizer(optimizer, name, loaded)
    for trained, steppers in ((model, optimizers), (restored, fresh)):
        trained.zero_grad()
        trained(torch.ones(4, 3)).square().sum().backward()
        for optimizer in steppers.values():
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), restored.parameters(), strict=True))


def test_states_of_fused_optimizers_have_the_memory_layout_of_their_parameters(tmp_path):
    def new_model():
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.Adam(model.parameters(), fused=True)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        optimizer.step()

    model, adam = new_model()
    step(model, adam)
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 1}, adam=adam)
    restored, fresh = new_model()
    restored.load_state_dict(checkpoint.load(tmp_path).detector())
    checkpoint.load_optimizer(fresh, "adam", checkpoint.load(tmp_path))
    for pair in ((model, adam), (restored, fresh)):
        step(*pair)
    assert torch.equal(model.weight, restored.weight)


def test_a_full_disk_leaves_the_previous_checkpoint_intact(tmp_path, monkeypatch):
    model, _ = train_linear()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(FitError, match=r"disk is full.*checkpoint of step 7 is intact.*--resume"):
        checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 9})
    assert checkpoint.load(tmp_path).state["step"] == 7


def test_a_kill_between_the_two_moves_loses_nothing(tmp_path, monkeypatch):
    model, _ = train_linear()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})
    folder = checkpoint.checkpoint_path(tmp_path, "last")
    folder.replace(files._old_of(folder))
    assert checkpoint.load(tmp_path).state["step"] == 7
    assert folder.is_dir()


def test_resuming_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    model, _ = train_linear()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})
    (checkpoint.checkpoint_path(tmp_path, "last") / name).write_bytes(b"{")
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load(tmp_path)


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(tmp_path, "last", {}, {"step": 7})
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="format 99"):
        checkpoint.load(tmp_path)


def test_differences_list_both_values():
    saved = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert checkpoint.list_differences(saved, {"a": 1, "b": {"c": [1, 2], "d": None}}) == []
    assert checkpoint.list_differences(saved, {"a": 2, "b": {"c": [1], "d": None}, "e": 3}) == [
        "a: 1 -> 2",
        "b.c: [1, 2] -> [1]",
        "e: None -> 3",
    ]
