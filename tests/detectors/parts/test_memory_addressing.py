import numpy as np
import pytest
import torch

from offnormal.detectors.parts.memory import address, entropy

CASES = ("a5d", "b4d", "c3d", "noshrink", "allzero")


def stored(golden, case):
    arrays = golden("memae_memory")
    values = {key.removeprefix(f"{case}__"): value for key, value in arrays.items() if key.startswith(f"{case}__")}
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in values.items()}
    return tensors, tensors["x"].requires_grad_(), tensors["mem"].requires_grad_(), float(values["lam"])


def naive(query, memory, shrink, cosine=False):
    """Position by position, item by item."""
    count, channels, *sizes = query.shape
    flat = query.reshape(count, channels, -1)
    recalled, attention = np.zeros_like(flat), np.zeros((count, len(memory), flat.shape[2]))
    for n in range(count):
        for p in range(flat.shape[2]):
            z = flat[n, :, p]
            scores = [float(z @ m) / (np.linalg.norm(z) * np.linalg.norm(m) if cosine else 1) for m in memory]
            weights = np.exp(scores) / np.exp(scores).sum()
            weights = np.array([w if w > shrink else 0 for w in weights])
            if weights.sum() > 0:
                weights = weights / weights.sum()
            attention[n, :, p] = weights
            recalled[n, :, p] = sum(w * m for w, m in zip(weights, memory, strict=True))
    return recalled.reshape(query.shape), attention.reshape(count, len(memory), *sizes)


@pytest.mark.parametrize("case", CASES)
def test_recalled_features_equal_the_reference(golden, case):
    expected, x, memory, shrink = stored(golden, case)
    recalled, attention = address(x, memory, shrink)
    for name, value in (("output", recalled), ("att", attention), ("entropy", entropy(attention))):
        torch.testing.assert_close(value.detach(), expected[name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_the_reference(golden, case):
    expected, x, memory, shrink = stored(golden, case)
    recalled, attention = address(x, memory, shrink)
    for name, value in (("pattern", (recalled * expected["out_pattern"]).sum()), ("entropy", entropy(attention))):
        gradients = torch.autograd.grad(value, (x, memory), retain_graph=True)
        for source, gradient in zip(("x", "mem"), gradients, strict=True):
            reference = expected[f"grad_{name}_{source}"]
            torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-3, msg=f"{name} {source}")


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("sizes", [(), (5,), (2, 3), (2, 3, 2)])
def test_addressing_equals_the_paper(sizes, similarity):
    rng = np.random.default_rng(0)
    query, memory = rng.normal(size=(2, 6, *sizes)), rng.normal(size=(9, 6))
    expected = naive(query, memory, 0.12, cosine=similarity == "cosine")
    actual = address(torch.from_numpy(query), torch.from_numpy(memory), 0.12, similarity)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_a_position_without_weights_recalls_nothing_and_stays_finite():
    query = torch.zeros(1, 4, 2)
    query[0, :, 1] = torch.tensor([9.0, 0, 0, 0])  # like the first item; the other position is like no item
    query.requires_grad_()
    recalled, attention = address(query, torch.eye(4), 0.5)
    assert attention.detach().sum(1).tolist() == [[0, 1]]
    assert not recalled[..., 0].any()
    (recalled.sum() + entropy(attention)).backward()
    assert torch.isfinite(query.grad).all()
    assert not query.grad[..., 0].any()


def test_entropy_is_the_mean_over_positions():
    attention = torch.tensor([[[0.5, 0.25], [0.5, 0.25], [0.0, 0.5]]])  # (1, 3, 2)
    expected = np.mean([np.log(2), 1.5 * np.log(2)])
    assert entropy(attention).item() == pytest.approx(expected, abs=1e-6)
