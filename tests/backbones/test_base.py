import pytest
import torch
from torch import nn

from offnormal.backbones.base import dry_run


def network():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    inner[2].eval()  # as a frozen part may be
    return inner


def test_shapes_come_out_and_nothing_changes():
    made = network()
    state = {name: value.clone() for name, value in made.state_dict().items()}
    modes = [module.training for module in made.modules()]
    found = dry_run(made, made, (1, 2, 9, 12))
    assert (found.device.type, found.shape) == ("meta", (1, 4, 5, 6))
    assert not found.requires_grad
    assert dry_run(made, made, (1, 2, 2, 2)).shape == (1, 4, 1, 1)  # too little for the statistics of training
    assert [module.training for module in made.modules()] == modes == [True, True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())


def test_a_part_may_be_run_and_an_error_leaves_everything_as_it_was():
    made = network()
    assert dry_run(made, made[0], (1, 2, 4, 4)).shape == (1, 4, 2, 2)
    before = made[0].weight
    with pytest.raises(RuntimeError):
        dry_run(made, made, (1, 3, 9, 9))
    assert made[0].weight is before
    assert made.training
