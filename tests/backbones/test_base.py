import pytest
import torch
from torch import nn

from offnormal.backbones.base import dry_run


def network():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    inner[2].eval()  # as a frozen part may be
    return inner


def test_a_dry_run_gives_shapes_and_changes_nothing():
    net = network()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    output = dry_run(net, net, (1, 2, 9, 12))
    assert (output.device.type, output.shape) == ("meta", (1, 4, 5, 6))
    assert not output.requires_grad
    assert dry_run(net, net, (1, 2, 2, 2)).shape == (1, 4, 1, 1)  # too little for the statistics of training
    assert [module.training for module in net.modules()] == modes == [True, True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_an_error_in_a_dry_run_of_a_part_changes_nothing():
    net = network()
    assert dry_run(net, net[0], (1, 2, 4, 4)).shape == (1, 4, 2, 2)
    before = net[0].weight
    with pytest.raises(RuntimeError):
        dry_run(net, net, (1, 3, 9, 9))
    assert net[0].weight is before
    assert net.training
