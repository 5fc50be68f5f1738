"""MemAE as it scores and trains over the published network as torch runs it, in turns in one process.

    python benchmarks/memae_speed.py [--rounds 9] [--threads 2] [--size 256] [--train-size 64] [--device cpu]

The published network (models/memae_3dconv.py) is written down here as it is there: modules one after the other, in
eval mode for scoring, torch's default memory format. Ours is what the detector scores with: batch normalization folded
into the convolutions, channels last. Training is a whole step: forward, losses, backward, Adam. Ratios are medians over
the rounds of one's time over the other's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from offnormal.detectors.memae import MemAE
from offnormal.types import InputSpec

SHRINK = 0.0025


class Published(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths, strides = (1, 96, 128, 256, 256), ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
        down, up = [], []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            down += [nn.Conv3d(before, after, 3, stride, 1), nn.BatchNorm3d(after), nn.LeakyReLU(0.2, inplace=True)]
        back = ((256, 256), (256, 128), (128, 96), (96, 1))
        for (before, after), stride in zip(back, strides[::-1], strict=True):
            padding = tuple(s - 1 for s in stride)
            up += [
                nn.ConvTranspose3d(before, after, 3, stride, 1, padding),
                nn.BatchNorm3d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[:-2])
        self.memory = nn.Parameter(torch.empty(2000, 256).uniform_(-1 / 16, 1 / 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        asked = code.permute(0, 2, 3, 4, 1).contiguous().view(-1, 256)
        weights = F.softmax(F.linear(asked, self.memory), dim=1)
        weights = F.relu(weights - SHRINK) * weights / (torch.abs(weights - SHRINK) + 1e-12)
        weights = F.normalize(weights, p=1, dim=1)
        recalled = F.linear(weights, self.memory.permute(1, 0))
        shape = (len(code), *code.shape[2:])
        back = recalled.view(*shape, 256).permute(0, 4, 1, 2, 3).contiguous()
        return self.decoder(back), weights.view(*shape, 2000).permute(0, 4, 1, 2, 3).contiguous()


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):  # the first one warms up
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def row(what: str, seconds: dict[str, list[float]]) -> str:
    plain, ours = seconds["published"], seconds["ours"]
    ratio = statistics.median(a / b for a, b in zip(plain, ours, strict=True))
    each = " | ".join(f"{1e3 * statistics.median(seconds_each):.0f}" for seconds_each in (plain, ours))
    return f"| {what} | {each} | {ratio:.2f} |"


def waited(value: Tensor) -> Tensor:
    if value.device.type == "cuda":
        torch.cuda.synchronize()
    return value


def forward(plain: Published, size: int, device: str) -> dict[str, Callable[[], object]]:
    ours = MemAE.create(spec=InputSpec(size=(size, size), channels=1, frames=16)).to(device)
    state = {k if k != "memory" else "mem_rep.memory.weight": v for k, v in plain.state_dict().items()}
    ours.load_reference_state_dict(state)
    clip = torch.rand(1, 1, 16, size, size, device=device)
    plain.eval()
    network, scaled = ours.eval()._scoring_network(), ours._scale(clip)
    assert torch.allclose(plain(2 * clip - 1)[0], network(scaled)[0], atol=1e-4)
    return {"published": lambda: waited(plain(2 * clip - 1)[0]), "ours": lambda: waited(network(scaled)[0])}


def training(plain: Published, size: int, count: int, device: str) -> dict[str, Callable[[], object]]:
    ours = MemAE.create(spec=InputSpec(size=(size, size), channels=1, frames=16)).to(device)
    batch = torch.rand(count, 1, 16, size, size, device=device)
    adam = Adam(plain.parameters(), lr=1e-4)
    (optimizer,) = ours.optimizers().values()

    def published_step() -> None:
        x = 2 * batch - 1
        reconstruction, weights = plain(x)
        spread = (-weights * torch.log(weights + 1e-12)).sum(1).mean()
        loss = F.mse_loss(reconstruction, x) + 2e-4 * spread
        adam.zero_grad()
        loss.backward()
        adam.step()
        waited(loss.detach())

    def our_step() -> None:
        for _, losses in ours.training_step(batch):
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
            waited(losses["loss"].detach())

    plain.train()
    ours.train()
    return {"published": published_step, "ours": our_step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--train-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4, help="of training")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = Published().to(args.device)
    print("| | published (ms) | ours (ms) | published / ours |\n|---|---|---|---|", flush=True)
    with torch.inference_mode():
        runs = forward(plain, args.size, args.device)
        print(row(f"forward, 16 x {args.size} x {args.size}", in_turns(runs, args.rounds)), flush=True)
    side, count = args.train_size, args.batch_size
    runs = training(plain, side, count, args.device)
    print(row(f"training step, {count} x 16 x {side} x {side}", in_turns(runs, args.rounds)), flush=True)


if __name__ == "__main__":
    main()
