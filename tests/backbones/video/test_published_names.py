"""mmaction2 checkpoints: their names are written here as its modules make them, apart from the map under test."""

import pytest
import torch

from offnormal.backbones.video.catalogue import build_embedder
from offnormal.errors import WeightsError
from tests.backbones.video.naive import norm, with_statistics


def as_mmaction(backbone, *, csn, bottleneck):
    """The state of a network under mmaction2's names: ConvModule has conv and bn, CSN's conv2 is a sequence of one."""
    state, renamed = backbone.trunk.state_dict(), {}

    def module(ours, theirs):
        for ours_part, theirs_part in (("conv", "conv"), ("norm", "bn")):
            for key, value in state.items():
                head = ours.format(ours_part) + "."
                if key.startswith(head):
                    renamed[f"backbone.{theirs}.{theirs_part}.{key.removeprefix(head)}"] = value

    module("blocks.0.{}", "conv1")
    for stage in range(1, 5):
        for block in range(len(backbone.trunk.blocks[stage].res_blocks)):
            ours, theirs = f"blocks.{stage}.res_blocks.{block}", f"layer{stage}.{block}"
            module(f"{ours}.branch2.{{}}_a", f"{theirs}.conv1")
            module(f"{ours}.branch2.{{}}_b", f"{theirs}.conv2.0" if csn else f"{theirs}.conv2")
            if bottleneck:
                module(f"{ours}.branch2.{{}}_c", f"{theirs}.conv3")
            module(f"{ours}.branch1_{{}}", f"{theirs}.downsample")
    assert len(renamed) == len(state)
    return {**renamed, "cls_head.fc_cls.weight": torch.zeros(400, 5), "cls_head.fc_cls.bias": torch.zeros(400)}


@pytest.mark.parametrize("name", ["slowonly_r50", "slowonly_r18", "resnet3d_r18"])
def test_checkpoints_of_mmaction2_load_with_its_normalization(name, tmp_path):
    published = with_statistics(build_embedder(name))
    state = as_mmaction(published, csn=False, bottleneck=name.endswith("50"))
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "w.pth")
    loaded = build_embedder(name)
    loaded.load_pretrained(tmp_path / "w.pth")
    for key, value in published.trunk.state_dict().items():
        assert torch.equal(loaded.trunk.state_dict()[key], value), key
    assert loaded.card.mean == (0.485, 0.456, 0.406)
    assert loaded.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_csn_of_mmaction2_has_another_epsilon(tmp_path):
    published = with_statistics(build_embedder("csn_r50"))
    torch.save(as_mmaction(published, csn=True, bottleneck=True), tmp_path / "w.pth")
    loaded = build_embedder("csn_r50")
    loaded.load_pretrained(tmp_path / "w.pth")
    x = torch.randn(1, 64, 2, 3, 3)
    expected = norm(published.trunk.state_dict(), "blocks.0.norm", x, eps=1e-3)
    torch.testing.assert_close(loaded.trunk.eval().blocks[0].norm(x), expected)
    assert loaded.card.mean == (0.43216, 0.394666, 0.37645)


def test_unknown_parts_of_mmaction2_are_refused_by_name(tmp_path):
    state = as_mmaction(build_embedder("slowonly_r18"), csn=False, bottleneck=False)
    state["backbone.layer1.0.non_local_block.g.conv.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"unknown, first .*non_local"):
        build_embedder("slowonly_r18").load_pretrained(tmp_path / "w.pth")
