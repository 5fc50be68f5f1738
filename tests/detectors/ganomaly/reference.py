"""Weights of the golden files by their recipe, and a plain copy of the published training step."""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F

from offnormal.detectors.ganomaly import Ganomaly


def recipe(network, seed, base):
    """The state dict behind every golden file, by the order of the entries."""
    state = network.state_dict()
    transposed = {
        f"{name}.weight" for name, module in network.named_modules() if isinstance(module, torch.nn.ConvTranspose2d)
    }
    for k, (name, value) in enumerate(state.items()):
        shape = tuple(value.shape)
        r = np.random.RandomState(seed * 1000 + base + k).standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            r = np.zeros(())
        elif value.ndim == 4:
            area = shape[2] * shape[3]
            fan = shape[0] * area / network.get_submodule(name.removesuffix(".weight")).stride[0] ** 2
            r = r * 1.2 / np.sqrt(fan if name in transposed else shape[1] * area)
        elif name.endswith("running_var"):
            r = 1 + 0.2 * np.abs(r)
        elif name.endswith(("running_mean", "bias")):
            r = 0.1 * r
        else:
            r = 1 + 0.1 * r
        state[name] = torch.from_numpy(np.asarray(r)).to(value.dtype)
    return state


def from_recipe(config, seed, **further):
    """A detector with the recipe's weights, configured as in the golden files."""
    cfg = json.loads(str(config))
    detector = Ganomaly.create(
        cfg["isize"], cfg.get("nc", 3), cfg["nz"], cfg["ngf"], cfg.get("extralayers", 0), **further
    )
    detector.load_reference_state_dict(recipe(detector.generator, seed, 0), recipe(detector.discriminator, seed, 500))
    return detector.eval()


def train(detector, batches, each=lambda detector, losses: None):
    """The plainest loop over `training_step`; returns the losses of every step by optimizer."""
    optimizers = detector.train().optimizers()
    history = []
    for batch in batches:
        losses = {}
        for name, step_losses in detector.training_step(batch):
            optimizers[name].zero_grad()
            step_losses["loss"].backward()
            optimizers[name].step()
            losses[name] = {key: float(value.detach()) for key, value in step_losses.items()}
        history.append(losses)
        each(detector, losses)
    return history


def reference_step(generator, discriminator, optimizer_g, optimizer_d, real):
    """lib/model.py of the published code: four discriminator passes, with gradients for it in both steps."""
    fake, z, z_hat = generator(real)
    pred_real, _ = discriminator(real)
    pred_fake, _ = discriminator(fake.detach())
    optimizer_g.zero_grad()
    adversarial = F.mse_loss(discriminator(real)[1], discriminator(fake)[1])
    contextual = (real - fake).abs().mean()
    latent = ((z_hat - z) ** 2).mean()
    (adversarial + 50 * contextual + latent).backward(retain_graph=True)
    optimizer_g.step()
    optimizer_d.zero_grad()
    d_real = F.binary_cross_entropy(pred_real, torch.ones_like(pred_real))
    d_fake = F.binary_cross_entropy(pred_fake, torch.zeros_like(pred_fake))
    ((d_real + d_fake) * 0.5).backward()
    optimizer_d.step()
    values = (adversarial, contextual, latent, d_real, d_fake)
    return [float(value.detach()) for value in values]
