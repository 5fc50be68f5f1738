"""MNAD as it scores and trains over its plain eager network, in turns in one process, as a Markdown table.

    python benchmarks/mnad_speed.py [--batches 1 4] [--rounds 5] [--threads 2] [--method pred] [--device cpu]

The plain network is the published one as torch computes it by default: batch normalization on its own, contiguous
tensors. `network` is ours alone, without gradients; `float32` and `bfloat16` are all that a score takes: colors, the
network, distances, score and map. A plain training step has the
published losses with their attention to all queries, gradients kept, and plain Adam. Ratios are the plain one's time
over ours, median over the rounds; `difference` is the largest of the frames that both make.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Adam

from offnormal.detectors.mnad import MNAD
from offnormal.detectors.mnad.networks import scoring_form
from offnormal.detectors.parts.memory import compactness, read_items, separateness, update_items

_SIZE = 256


def turns(named: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each by round; the first round, which is left out, warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in named}
    for number in range(rounds + 1):
        for name, call in named.items():
            start = time.perf_counter()
            call()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds["plain"], seconds[name], strict=True))


def detector(method: str, device: str, precision: str = "float32") -> MNAD:
    mnad = MNAD.create(method, _SIZE, score_precision=precision)
    mnad.load_reference_state_dict(mnad.net.state_dict(), mnad.items)
    return mnad.to(device).eval()


def plain_input(x: Tensor) -> tuple[Tensor, Tensor]:
    scaled = 2 * x - 1
    if x.ndim == 4:
        return scaled, scaled
    return scaled[:, :, :-1].transpose(1, 2).flatten(1, 2).contiguous(), scaled[:, :, -1].contiguous()


@torch.no_grad()
def scoring(method: str, batch: int, rounds: int, device: str) -> str:
    ours, rough = detector(method, device), detector(method, device, "bfloat16")
    x = torch.rand(batch, 3, *([5] if method == "pred" else []), _SIZE, _SIZE, device=device)
    frames, _ = plain_input(x)
    form = scoring_form(ours.net, torch.float32)
    ordered = frames.contiguous(memory_format=torch.channels_last)
    calls = {
        "plain": lambda: ours.net(frames, ours.items),
        "network": lambda: form(ordered, ours.items),
        "float32": lambda: ours(x),
        "bfloat16": lambda: rough(x),
    }
    seconds = turns(calls, rounds, device)
    difference = (2 * ours.reconstruct(x) - 1 - ours.net(frames, ours.items)[0]).abs().max()
    times = " | ".join(f"{1e3 * statistics.median(seconds[name]):.0f}" for name in calls)
    ratios = " | ".join(f"{ratio(seconds, name):.2f}" for name in ("network", "float32", "bfloat16"))
    return f"| score, batch {batch} | {times} | {ratios} | {difference:.0e} |"


def training(method: str, batch: int, rounds: int, device: str) -> str:
    plain, ours = detector(method, device).train(), detector(method, device)
    weight = 0.1 if method == "pred" else 0.01
    x = torch.rand(batch, 3, *([5] if method == "pred" else []), _SIZE, _SIZE, device=device)
    frames, target = plain_input(x)
    adam, optimizer = Adam(plain.net.parameters(), lr=2e-4), ours.train().optimizers()["network"]

    def plain_step() -> None:
        prediction, query = plain.net(frames, plain.items)
        read_items(query.detach(), plain.items)
        loss = (prediction - target).square().mean()
        loss = loss + weight * compactness(query, plain.items) + weight * separateness(query, plain.items)
        adam.zero_grad()
        loss.backward(retain_graph=True)
        adam.step()
        plain.items.copy_(update_items(query.detach(), plain.items))

    def our_step() -> None:
        for _, losses in ours.training_step(x):
            losses["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

    seconds = turns({"plain": plain_step, "ours": our_step}, rounds, device)
    times = " | ".join(f"{1e3 * statistics.median(seconds[name]):.0f}" for name in ("plain", "ours"))
    return f"| training step, batch {batch} | {times.replace(' | ', ' | | ')} | | | {ratio(seconds, 'ours'):.2f} | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--method", choices=("pred", "recon"), default="pred")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    columns = (
        "",
        "plain (ms)",
        "network (ms)",
        "float32 (ms)",
        "bfloat16 (ms)",
        "plain / network",
        "/ float32",
        "/ bfloat16",
        "difference",
    )
    print(f"{args.method}, {_SIZE} x {_SIZE} px\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for batch in args.batches:
        print(scoring(args.method, batch, args.rounds, args.device), flush=True)
    print(training(args.method, args.batches[-1], args.rounds, args.device))


if __name__ == "__main__":
    main()
