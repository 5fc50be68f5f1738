import torch

from offnormal.detectors.memae.networks import MemoryMonitor, sum_per_item


def attention():
    """2 inputs, 3 items, 2 positions: the first input recalls item 0 everywhere, the second recalls nothing."""
    weights = torch.zeros(2, 3, 2)
    weights[0, 0] = 1
    return weights


def test_positions_and_items_are_counted_over_an_epoch():
    monitor = MemoryMonitor(3, 0.1)
    monitor.count(attention())
    monitor.count(torch.full((1, 3, 2), 1 / 3))
    assert monitor.end_epoch() == {"dead_positions": round(2 / 6, 4), "unused_items": 0.0}
    monitor.count(attention())
    assert monitor.end_epoch() == {"dead_positions": 0.5, "unused_items": round(2 / 3, 4)}
    assert monitor.end_epoch() == {}


def test_starvation_warns_once_and_is_not_saved(caplog):
    monitor = MemoryMonitor(3, 0.1)
    for _ in range(2):
        monitor.count(torch.zeros(2, 3, 2))
        monitor.end_epoch()
    assert caplog.text.count("100 % of all positions recalled nothing") == 1
    assert not monitor.state_dict()


def test_item_weights_are_summed_over_positions():
    assert sum_per_item(attention()).tolist() == [[2, 0, 0], [0, 0, 0]]
    assert sum_per_item(torch.ones(2, 3)).tolist() == [[1, 1, 1], [1, 1, 1]]
