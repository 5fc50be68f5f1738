"""What each network of clips costs on this machine, as a Markdown table: seconds of one clip, four ways.

    python benchmarks/video_backbones.py [--only csn_r50 ...] [--input 15x256x256] [--threads 2] [--rounds 3]

Weights are random: the time does not depend on them. Without --input each network gets clips of the size that it was
trained on. The four ways are the network as it is, in channels-last memory format, with batch normalization folded
into the convolutions, and both; they take turns, so that a drifting machine touches all of them, and the shortest
round counts. An encoder shortens time as it does in MemAE (`mixed`).
"""

from __future__ import annotations

import argparse
import copy
import time

import torch

from offnormal import registry
from offnormal.backbones.video.base import Size, VideoBackbone
from offnormal.backbones.video.catalogue import build_embedder, build_encoder, is_encoder
from offnormal.backbones.video.cost import count
from offnormal.backbones.video.inference import optimize_for_inference
from offnormal.backbones.video.overview import parse_input

HEAD = ("network", "clip", "parameters (M)", "GMAC", "as it is (s)", "channels last", "folded", "both", "GMAC/s, best")


def ways(backbone: VideoBackbone, size: Size) -> list[VideoBackbone]:
    both = optimize_for_inference(backbone, size)
    folded = copy.deepcopy(both)
    for parameter in folded.parameters():
        parameter.data = parameter.data.contiguous() if parameter.ndim == 5 else parameter.data
    return [backbone, channels_last(backbone), folded, both]


def channels_last(backbone: VideoBackbone) -> VideoBackbone:
    copied = copy.deepcopy(backbone)
    for parameter in copied.parameters():
        if parameter.ndim == 5:  # networks of pictures inside have others, and their own memory format
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return copied


@torch.inference_mode()
def seconds(networks: list[VideoBackbone], channels: int, size: Size, rounds: int) -> list[float]:
    plain = torch.rand(1, channels, *size)
    clips = [plain, plain.contiguous(memory_format=torch.channels_last_3d)]
    best = [float("inf")] * len(networks)
    for turn in range(rounds + 1):
        for number, network in enumerate(networks):
            start = time.perf_counter()
            network.embed(clips[number % 2])
            if turn:  # the first warms up
                best[number] = min(best[number], time.perf_counter() - start)
    return best


def row(name: str, size: Size | None, rounds: int) -> str:
    build = build_encoder if is_encoder(name) else build_embedder
    backbone = build(name)
    backbone.eval().requires_grad_(False)
    clip = size or (backbone.card.frames, *backbone.card.size)
    cost = count(backbone, clip)
    seconds_of_ways = seconds(ways(backbone, clip), backbone.in_channels, clip, rounds)
    ratios = [f"x {each / seconds_of_ways[0]:.2f}" for each in seconds_of_ways[1:]]
    speed = cost.macs / 1e9 / min(seconds_of_ways)
    cells = (
        name,
        " x ".join(map(str, clip)),
        f"{cost.parameters / 1e6:.1f}",
        f"{cost.macs / 1e9:.1f}",
        f"{seconds_of_ways[0]:.2f}",
        *ratios,
        f"{speed:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    names = [name if name != "frames" else "frames:efficientnet_lite0" for name in registry.names("backbones")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=names, metavar="NETWORK")
    parser.add_argument("--input", metavar="TxHxW")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = parse_input(args.input)[1:] if args.input else None
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    for name in args.only:
        print(row(name, size, args.rounds), flush=True)


if __name__ == "__main__":
    main()
