import errno

import pytest
import torch

from offnormal import files
from offnormal.errors import ConfigError, DataError, FitError
from offnormal.training import checkpoint


def trained(steps=3):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters(), betas=(0.5, 0.9))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)  # without a state of its own
    for _ in range(steps):
        model(torch.ones(4, 3)).square().sum().backward()
        adam.step()
        sgd.step()
    return model, {"adam": adam, "sgd": sgd}


def test_detector_and_optimizers_come_back_bit_for_bit(tmp_path):
    model, optimizers = trained()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 3, "third": 1 / 3}, **optimizers)
    found = checkpoint.load(tmp_path)
    assert (found.state["step"], found.state["third"]) == (3, 1 / 3)
    assert all(torch.equal(found.detector()[key], value) for key, value in model.state_dict().items())
    other, fresh = trained(steps=0)
    other.load_state_dict(found.detector())
    for name, optimizer in fresh.items():
        checkpoint.load_optimizer(optimizer, name, found)
    for one, made in ((model, optimizers), (other, fresh)):
        one.zero_grad()
        one(torch.ones(4, 3)).square().sum().backward()
        for optimizer in made.values():
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_states_of_fused_optimizers_lie_in_memory_as_their_parameters_do(tmp_path):
    def made():
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.Adam(model.parameters(), fused=True)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        optimizer.step()

    model, adam = made()
    step(model, adam)
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 1}, adam=adam)
    other, fresh = made()
    other.load_state_dict(checkpoint.load(tmp_path).detector())
    checkpoint.load_optimizer(fresh, "adam", checkpoint.load(tmp_path))
    for one in ((model, adam), (other, fresh)):
        step(*one)
    assert torch.equal(model.weight, other.weight)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model, _ = trained()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(FitError, match=r"disk is full.*checkpoint of step 7 is intact.*--resume"):
        checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 9})
    assert checkpoint.load(tmp_path).state["step"] == 7


def test_a_program_killed_between_the_two_moves_loses_nothing(tmp_path, monkeypatch):
    model, _ = trained()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})
    place = checkpoint.place(tmp_path, "last")
    place.replace(files._beside(place, "old"))
    assert checkpoint.load(tmp_path).state["step"] == 7
    assert place.is_dir()


def test_nothing_to_go_on_from(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name):
    model, _ = trained()
    checkpoint.save(tmp_path, "last", model.state_dict(), {"step": 7})
    (checkpoint.place(tmp_path, "last") / name).write_bytes(b"{")
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load(tmp_path)


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(tmp_path, "last", {}, {"step": 7})
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="format 99"):
        checkpoint.load(tmp_path)


def test_differences_are_named_with_both_values():
    then = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert checkpoint.differences(then, {"a": 1, "b": {"c": [1, 2], "d": None}}) == []
    assert checkpoint.differences(then, {"a": 2, "b": {"c": [1], "d": None}, "e": 3}) == [
        "a: 1 then, 2 now",
        "b.c: [1, 2] then, [1] now",
        "e: None then, 3 now",
    ]
