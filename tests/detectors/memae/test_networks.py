import torch

from offnormal.detectors.memae.networks import MemoryWatch, by_item


def attention():
    """Of 2 inputs to 3 items at 2 positions: item 0 everywhere in the first, nothing recalled in the second."""
    weights = torch.zeros(2, 3, 2)
    weights[0, 0] = 1
    return weights


def test_positions_and_items_are_counted_over_an_epoch():
    watch = MemoryWatch(3, 0.1)
    watch.see(attention())
    watch.see(torch.full((1, 3, 2), 1 / 3))
    assert watch.epoch_ended() == {"dead_positions": round(2 / 6, 4), "unused_items": 0.0}
    watch.see(attention())
    assert watch.epoch_ended() == {"dead_positions": 0.5, "unused_items": round(2 / 3, 4)}
    assert watch.epoch_ended() == {}


def test_starvation_is_warned_of_once_and_nothing_of_it_is_saved(caplog):
    watch = MemoryWatch(3, 0.1)
    for _ in range(2):
        watch.see(torch.zeros(2, 3, 2))
        watch.epoch_ended()
    assert caplog.text.count("100 % of all positions recalled nothing") == 1
    assert not watch.state_dict()


def test_weights_of_an_item_are_added_up_over_positions():
    assert by_item(attention()).tolist() == [[2, 0, 0], [0, 0, 0]]
    assert by_item(torch.ones(2, 3)).tolist() == [[1, 1, 1], [1, 1, 1]]
