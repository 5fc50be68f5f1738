import doctest
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from offnormal.backbones.video import residual
from offnormal.backbones.video.residual import ResidualNetwork, halve_time, mean_of_windows
from offnormal.backbones.video.resnet3d import NETWORKS
from tests.backbones.video.naive import block, stem, with_statistics

KEYS = Path(__file__).parents[2] / "golden" / "video_keys"


def published(name: str) -> list[tuple[str, str]]:
    """Names and shapes of a published checkpoint, in its order, without the classifier."""
    rows = [tuple(line.split(" ", 1)) for line in (KEYS / f"{name}_keys.txt").read_text().splitlines()]
    return [row for row in rows if ".proj." not in row[0]]


@pytest.mark.parametrize(("name", "file"), [("slowonly_r50", "slow"), ("csn_r101", "csn")])
def test_names_order_and_shapes_match_the_published_checkpoint(name, file):
    with torch.device("meta"):
        state = ResidualNetwork(NETWORKS[name].kind, 3).state_dict()
    assert [(key, str(tuple(value.shape))) for key, value in state.items()] == published(file)


@pytest.mark.parametrize("name", ["slowonly_r50", "csn_r50", "slowonly_r18", "resnet3d_r18"])
def test_forward_equals_a_naive_implementation(name):
    """Every convolution written out by its name; kernels, strides and paddings from the table of the paper."""
    bottleneck, csn = name.endswith("50"), name.startswith("csn")
    frames_seen = [3, 3, 3, 3] if not name.startswith("slowonly") else [1, 1, 3, 3]
    time_strides = [1, 1, 1, 1] if name.startswith("slowonly") else [1, 2, 2, 2]
    torch.manual_seed(0)
    network = with_statistics(ResidualNetwork(NETWORKS[name].kind, 3)).eval()
    state = network.state_dict()
    x = torch.randn(1, 3, 5, 40, 48)
    with torch.inference_mode():
        output = network(x)
        y = stem(state, "blocks.0", x, 1 if name.startswith("slowonly") else 3)
        torch.testing.assert_close(output["stem"], y)
        y = F.max_pool3d(y, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for stage, depth in enumerate((3, 4, 6, 3) if bottleneck else (2, 2, 2, 2)):
            for number in range(depth):
                stride = (time_strides[stage], 2 if stage else 1, 2 if stage else 1) if number == 0 else (1, 1, 1)
                prefix = f"blocks.{stage + 1}.res_blocks.{number}"
                y = block(state, prefix, y, frames_seen[stage], stride, bottleneck=bottleneck, depthwise=csn)
            torch.testing.assert_close(output[f"layer{stage + 1}"], y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 4, 7, 15])
def test_halving_time_mixes_each_frame_with_its_neighbors(length):
    x = torch.randn(2, 3, length, 2, 2)
    output = halve_time(x)
    assert output.shape[2] == (length + 1) // 2
    for step in range(output.shape[2]):
        before, here, after = (x[:, :, min(max(2 * step + k, 0), length - 1)] for k in (-1, 0, 1))
        torch.testing.assert_close(output[:, :, step], 0.25 * before + 0.5 * here + 0.25 * after)


def test_halving_time_gives_all_frames_equal_weight():
    x = torch.zeros(1, 1, 15, 1, 1, requires_grad=True)
    halve_time(x).sum().backward()
    torch.testing.assert_close(x.grad.flatten()[1:-1], torch.full((13,), 0.5))


def test_heads_average_windows_of_seven_not_the_whole_map():
    x = torch.randn(1, 2, 3, 8, 9)
    windows = [x[:, :, :, i : i + 7, j : j + 7].mean((2, 3, 4)) for i in range(2) for j in range(3)]
    torch.testing.assert_close(mean_of_windows(x), torch.stack(windows).mean(0))
    assert not torch.allclose(mean_of_windows(x), x.mean((2, 3, 4)), atol=1e-3)
    torch.testing.assert_close(mean_of_windows(x[..., :7, :7]), x[..., :7, :7].mean((2, 3, 4)))


def test_doctests():
    assert doctest.testmod(residual, extraglobs={"torch": torch}).failed == 0
