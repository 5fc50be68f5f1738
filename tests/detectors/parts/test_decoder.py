import itertools

import pytest
import torch
from torch import nn

from offnormal.backbones.base import Encoder
from offnormal.detectors.memae.networks import _PlainEncoder
from offnormal.detectors.parts.decoder import Decoder, check_sizes, decode
from offnormal.errors import ConfigError


class Stages(Encoder):
    """Convolutions, or poolings that drop the last odd position, with these strides in sequence."""

    def __init__(self, strides, channels=6, pooled=False, kernel=3):
        super().__init__()
        axes = len(strides[0])
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        pooling = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
        self.layers = nn.ModuleList(
            pooling(stride) if pooled else convolution(2 if n == 0 else channels, channels, kernel, stride, kernel // 2)
            for n, stride in enumerate(strides)
        )
        self.channels = {f"s{n}": 2 if pooled else channels for n in range(len(strides))}
        totals = list(itertools.accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True))))
        self.strides = {f"s{n}": stride for n, stride in enumerate(totals)}

    def forward(self, x):
        stages = {}
        for n, layer in enumerate(self.layers):
            stages[f"s{n}"] = x = layer(x)
        return stages


def round_trip(encoder, decoder, size):
    x = torch.rand(2, 2, *size)
    stages = encoder(x)
    return decode(decoder, list(stages.values())[-1], stages, x)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6])
def test_every_length_is_restored(stride, pooled):
    encoder = Stages([(stride,), (2,)], pooled=pooled).eval()
    decoder = Decoder(encoder, 2, slope=0).eval()
    for length in range(2 * stride if pooled else 2, 40):
        assert round_trip(encoder, decoder, (length,)).shape == (2, 2, length)


@pytest.mark.parametrize("size", [(16, 32, 48), (15, 31, 45), (10, 60, 90), (1, 17, 16), (3, 33, 50)])
def test_one_decoder_restores_clips_of_every_size(size):
    encoder = Stages([(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]).eval()
    assert round_trip(encoder, Decoder(encoder, 2).eval(), size).shape[2:] == size


def test_output_padding_restores_the_sizes():
    encoder = _PlainEncoder(1, (4, 8, 8), ((2, 2),) * 3, (1, 3, 3), 0.0).eval()
    decoder = Decoder(encoder, 1, (8, 4))
    sizes = []
    for layer in decoder:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, args, kwargs, out: sizes.append(out.shape[2]), with_kwargs=True)
    x = torch.rand(2, 1, 28, 28)
    stages = encoder(x)
    assert [features.shape[2] for features in stages.values()] == [14, 7, 4]
    decode(decoder, stages["stage3"], stages, x)
    assert sizes == [7, 14, 28]  # output padding 0, 1, 1


def test_blocks_mirror_the_strides_with_time_first():
    decoder = Decoder(Stages([(8, 2, 2), (1, 4, 4), (1, 1, 1), (1, 2, 2)]), 1)
    strides = [layer.stride for layer in decoder if isinstance(layer, nn.ConvTranspose3d)]
    assert strides == [(1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 1, 1), (2, 1, 1), (2, 2, 2)]
    assert not any(isinstance(layer, nn.BatchNorm3d | nn.LeakyReLU) for layer in list(decoder)[-1:])


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(2048, [1024, 512, 256, 128, 1]), (512, [256, 128, 96, 96, 1]), (64, [64, 64, 64, 64, 1])],
)
def test_channels_are_halved_down_to_the_minimum(channels, expected):
    class Wide(Stages):
        def __init__(self):
            super().__init__([(1, 2, 2)] * 5, channels=1)
            self.channels = dict.fromkeys(self.channels, channels)

    with torch.device("meta"):
        decoder = Decoder(Wide(), 1)
    assert [layer.out_channels for layer in decoder if isinstance(layer, nn.ConvTranspose3d)] == expected


def test_blocks_describe_inputs_and_outputs():
    encoder = Stages([(1, 2), (2, 4)], channels=6)
    first, second, third = Decoder(encoder, 2, (5, 4)).blocks([(15, 30), (15, 15)])
    assert (first.channels, first.reads, first.size, first.stride) == (5, (8, 4), (8, 8), (1, 2))
    assert (second.channels, second.reads, second.size, second.stride) == (4, (8, 8), (15, 15), (2, 2))
    assert (third.channels, third.reads, third.size, third.kernel) == (2, (15, 15), (15, 30), (3, 3))
    assert [block.output_padding for block in (first, second, third)] == [(0, 1), (0, 0), (0, 1)]


def test_checking_sizes_changes_nothing():
    encoder = _PlainEncoder(1, (4, 8), ((2, 2),) * 2, (3, 3), 0.0).train()
    decoder = Decoder(encoder, 1, (4,)).train()
    before = [value.clone() for value in (*encoder.buffers(), *decoder.buffers())]
    check_sizes(encoder, decoder, (1, 40, 41))
    assert encoder.training and decoder.training
    assert all(torch.equal(a, b) for a, b in zip((*encoder.buffers(), *decoder.buffers()), before, strict=True))


def test_kernels_leave_no_holes():
    decoder = Decoder(Stages([(5, 7)]), 1)
    assert decoder[0].kernel_size == (5, 7)


def test_sizes_that_are_not_restored_are_rejected():
    encoder = Stages([(2, 2), (2, 2)])
    decoder = Decoder(encoder, 2)
    check_sizes(encoder.eval(), decoder.eval(), (2, 40, 41))
    with pytest.raises(ConfigError, match=r"channels=2, expected the same size with channels=3|do not accept it"):
        check_sizes(encoder, decoder, (3, 40, 40))
    encoder.channels = {"s0": 6, "s1": 7}
    with pytest.raises(ConfigError, match="declares the channels and strides of its stages"):
        check_sizes(encoder, Decoder(encoder, 2).eval(), (2, 40, 40))
    encoder.strides = {"s0": (2, 2), "s1": (3, 3)}
    with pytest.raises(ConfigError, match="expected multiples of the strides"):
        Decoder(encoder, 2)


def test_the_number_of_widths_must_match_the_blocks():
    with pytest.raises(ConfigError, match="3 widths for 2 blocks"):
        Decoder(Stages([(2, 2), (2, 2)]), 2, (4, 4, 4))
    with pytest.raises(ConfigError, match="expected a stride above 1"):
        Decoder(Stages([(1, 1)]), 2)
