import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from offnormal.detectors.parts.memory import (
    compactness,
    feature_distance,
    nearest_items,
    read_items,
    recall,
    separateness,
    update_items,
)

CASES = ("a", "b", "c")


def load_inputs(count=2, channels=6, height=3, width=4, number=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(count, channels, height, width, generator=random)
    items = torch.nn.functional.normalize(torch.randn(number, channels, generator=random), dim=1)
    return query, items


def plain_update(query, items, compat):
    """Item by item and query by query, as in the paper and its code."""
    rows = [q / np.linalg.norm(q) for q in query.permute(0, 2, 3, 1).reshape(-1, query.shape[1]).double().numpy()]
    keys = items.double().numpy()
    similarity = np.array([[row @ key for key in keys] for row in rows])
    over_queries = np.exp(similarity) / np.exp(similarity).sum(0)
    moved = keys.copy()
    for m in range(len(keys)):
        assigned = [k for k in range(len(rows)) if similarity[k].argmax() == m]
        among = assigned if compat == "paper" else range(len(rows))
        for k in assigned:
            moved[m] += over_queries[k, m] / max(over_queries[j, m] for j in among) * rows[k]
        moved[m] /= np.linalg.norm(moved[m])
    return moved


@pytest.mark.parametrize("case", CASES)
def test_reading_updating_and_losses_equal_the_reference(golden, case):
    stored = golden("mnad_memory_read_update")
    query, items = (torch.from_numpy(stored[f"{case}__{name}"]) for name in ("query_raw", "keys_in"))
    features, score_query, score_memory = read_items(query, items)
    actual = {
        "read_out": features,
        "score_query": score_query,
        "score_memory": score_memory,
        "keys_out_train": update_items(query, items),
        "compactness": compactness(query, items),
        "separateness": separateness(query, items),
        "top1_index": nearest_items(query, items).flatten(),
    }
    for name, value in actual.items():
        np.testing.assert_allclose(value.numpy(), stored[f"{case}__{name}"], atol=1e-5, err_msg=name)
    assert torch.equal(recall(query, items), features)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_the_reference_and_none_flows_through_the_attention(golden, case):
    stored = golden("mnad_memory_read_update")
    items = torch.from_numpy(stored[f"{case}__keys_in"])
    pattern = torch.from_numpy(stored[f"{case}__read_pattern"])
    for name, source in {
        "compactness": lambda query: compactness(query, items),
        "separateness": lambda query: separateness(query, items),
        "read_pattern": lambda query: (read_items(query, items)[0] * pattern).sum(),
    }.items():
        query = torch.from_numpy(stored[f"{case}__query_raw"]).requires_grad_()
        (gradient,) = torch.autograd.grad(source(query), query)
        np.testing.assert_allclose(gradient.numpy(), stored[f"{case}__grad_{name}"], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("compat", ["code", "paper"])
def test_an_update_equals_the_formula_item_by_item(compat):
    for seed in range(4):
        query, items = load_inputs(seed=seed)
        np.testing.assert_allclose(
            update_items(query, items, compat).numpy(), plain_update(query, items, compat), atol=1e-6
        )


def test_paper_and_code_differ():
    query, items = load_inputs()
    assert not torch.allclose(update_items(query, items, "code"), update_items(query, items, "paper"), atol=1e-3)


@pytest.mark.parametrize("compat", ["code", "paper"])
def test_an_item_without_queries_stays(compat):
    query, items = load_inputs(count=1, height=1, width=2, number=9)
    nearest = set(nearest_items(query, items).flatten().tolist())
    moved = update_items(query, items, compat)
    for m in range(9):
        assert torch.allclose(moved[m], items[m], atol=1e-6) == (m not in nearest)


def test_separate_memories_equal_separate_calls():
    query, _ = load_inputs(count=3)
    memories = torch.stack([load_inputs(seed=seed)[1] for seed in range(3)])
    alone = [(query[i : i + 1], memories[i]) for i in range(3)]
    for compat in ("code", "paper"):
        assert torch.allclose(
            update_items(query, memories, compat), torch.stack([update_items(q, m, compat) for q, m in alone])
        )
        assert torch.allclose(
            feature_distance(query, memories, compat), torch.cat([feature_distance(q, m, compat) for q, m in alone])
        )
    for whole, *parts in zip(read_items(query, memories), *(read_items(q, m) for q, m in alone), strict=True):
        assert torch.allclose(whole, torch.cat(parts), atol=1e-6)
    assert torch.equal(nearest_items(query, memories), torch.cat([nearest_items(q, m) for q, m in alone]))


def test_the_feature_distance_does_not_depend_on_the_batch():
    query, items = load_inputs(count=3)
    rows = torch.nn.functional.normalize(query, dim=1).permute(0, 2, 3, 1).reshape(3, -1, 6)
    nearest = items[(rows @ items.T).argmax(2)]
    for compat, expected in {
        "code": ((rows - nearest) ** 2).mean((1, 2)),
        "paper": (rows - nearest).norm(dim=2).mean(1),
    }.items():
        torch.testing.assert_close(feature_distance(query, items, compat), expected)
    assert feature_distance(query, items).mean().item() == pytest.approx(compactness(query, items).item())


def test_everything_is_computed_in_float32_under_autocast():
    query, items = load_inputs(channels=64)
    with torch.autocast("cpu", torch.bfloat16):
        actual = update_items(query, items), *read_items(query, items), compactness(query, items)
    expected = update_items(query, items), *read_items(query, items), compactness(query, items)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_the_margin_applies_to_the_second_nearest_item():
    query, items = load_inputs()
    assert separateness(query, items, 0.5) < separateness(query, items, 1.0)
    rows = torch.nn.functional.normalize(query, dim=1).permute(0, 2, 3, 1).reshape(-1, 6)
    places = (rows @ items.T).topk(2).indices
    first, second = ((rows - items[places[:, i]] + 1e-6).norm(dim=1) for i in (0, 1))
    assert separateness(query, items, 0.5).item() == pytest.approx((first - second + 0.5).clamp(min=0).mean().item())


def update_in_rank(rank, folder):
    """Run as one of two processes, with its share of the queries."""
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    query, items = load_inputs(count=3)
    mine = query[:1] if rank else query[1:]
    updated = [update_items(mine, items, compat, everywhere=True) for compat in ("code", "paper")]
    torch.save(updated, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_several_processes_update_the_memory_like_one(tmp_path):
    multiprocessing.spawn(update_in_rank, (tmp_path,), nprocs=2)
    query, items = load_inputs(count=3)
    updated = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for compat, first, second in zip(("code", "paper"), *updated, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, update_items(query, items, compat))
        assert not torch.allclose(first, update_items(query[1:], items, compat), atol=1e-3)
