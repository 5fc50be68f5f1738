"""A training step of ours over one of GANomaly's published code, at the same batch, in turns in one process.

    python benchmarks/ganomaly_step.py [--rounds 60] [--threads 2] [--device cpu]

The published step is written down here as it is there (lib/model.py): four passes through the discriminator, gradients
for its weights in the generator's backward too, plain Adam, torch's default memory format. Both do all of a step:
forward, losses, backward, optimizers. The ratio is the median over the rounds of one step's time over the other's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam

from offnormal.detectors.ganomaly import Ganomaly
from offnormal.detectors.ganomaly.networks import Discriminator, Generator

SETTINGS = ((32, 3, 64), (32, 1, 32), (64, 3, 64))  # size, channels, width
_BATCH = 64
_LATENT = 100


def published(size: int, channels: int, width: int, real: Tensor) -> Callable[[], float]:
    generator = Generator(size, channels, _LATENT, width, 0).to(real.device)
    discriminator = Discriminator(size, channels, width, 0).to(real.device)
    of_generator = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_discriminator = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    ones, zeros = torch.ones(_BATCH, device=real.device), torch.zeros(_BATCH, device=real.device)

    def step() -> float:
        fake, z, z_hat = generator(real)
        predicted_real, _ = discriminator(real)
        predicted_fake, _ = discriminator(fake.detach())

        of_generator.zero_grad()
        adversarial = F.mse_loss(discriminator(real)[1], discriminator(fake)[1])
        contextual = torch.mean(torch.abs(real - fake))
        latent = torch.mean(torch.pow(z - z_hat, 2))
        loss = adversarial * 1 + contextual * 50 + latent * 1
        loss.backward(retain_graph=True)
        of_generator.step()

        of_discriminator.zero_grad()
        on_real = F.binary_cross_entropy(predicted_real, ones)
        on_fake = F.binary_cross_entropy(predicted_fake, zeros)
        judged = (on_real + on_fake) * 0.5
        judged.backward()
        of_discriminator.step()
        return float(judged.detach())  # which it compares with 1e-5

    return step


def ours(size: int, channels: int, width: int, pixels: Tensor) -> Callable[[], float]:
    detector = Ganomaly.create(size, channels, _LATENT, width).to(pixels.device).train()
    optimizers = detector.optimizers()
    parameters = {
        name: [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for name, optimizer in optimizers.items()
    }

    def step() -> float:
        value = 0.0
        for name, losses in detector.training_step(pixels):
            optimizers[name].zero_grad()
            losses["loss"].backward(inputs=parameters[name])
            optimizers[name].step()
            value = float(losses["loss"].detach())
        return value

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    print("| size | channels | width | published (ms) | ours (ms) | ratio |\n|---|---|---|---|---|---|")
    for size, channels, width in SETTINGS:
        pixels = torch.rand(_BATCH, channels, size, size).to(args.device)
        steps = {"published": published(size, channels, width, 2 * pixels - 1)}
        steps["ours"] = ours(size, channels, width, pixels)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(args.rounds + 2):  # the first two warm up
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if number >= 2:
                    seconds[name].append(time.perf_counter() - start)
        ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["published"], strict=True))
        both = " | ".join(f"{1e3 * statistics.median(seconds[name]):.1f}" for name in steps)
        print(f"| {size} | {channels} | {width} | {both} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
