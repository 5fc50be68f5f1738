import pytest
import torch

from offnormal.backbones.video.catalogue import build_embedder
from offnormal.backbones.video.cost import count, seconds_per_clip


@pytest.mark.parametrize(
    ("name", "size", "billions", "millions"),
    [
        ("r2plus1d_18", (16, 112, 112), 40.52, 31.30),  # torchvision's own figures, without the classifier
        ("slowfast_r50", (32, 256, 256), 65.71, 33.64),  # pytorchvideo's model zoo: 65.71 GFLOPs
        ("csn_r50", (32, 224, 224), 42.31, 12.31),
    ],
)
def test_costs_equal_published_values(name, size, billions, millions):
    with torch.device("meta"):
        backbone = build_embedder(name)
    cost = count(backbone, size)
    assert cost.macs / 1e9 == pytest.approx(billions, abs=0.01)
    assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_clip_takes_time():
    assert seconds_per_clip(build_embedder("slowonly_r18"), (4, 32, 32)) > 0
