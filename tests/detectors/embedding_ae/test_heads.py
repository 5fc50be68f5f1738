import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from offnormal.detectors.embedding_ae.heads import Centroids, Heads, Neighbors, _ShrunkGaussian, classes_of, coreset


def rows(n, width, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + 3).astype(np.float32))


def test_centroids_are_means_of_classes_and_the_nearest_counts():
    x, classes = rows(12, 5), torch.tensor([0, 1, 2] * 4)
    head = Centroids()
    head.learn(x, classes)
    means = np.stack([x.numpy()[classes.numpy() == c].mean(0) for c in range(3)])
    asked = rows(4, 5, seed=1)
    expected = [min(np.sqrt(((one - mean) ** 2).mean()) for mean in means) for one in asked.numpy()]
    np.testing.assert_allclose(head(asked), expected, rtol=1e-5)


@pytest.mark.parametrize(("n", "width"), [(200, 6), (7, 20), (30, 30)])  # also fewer rows than numbers
def test_the_gaussian_is_that_of_ledoit_and_wolf(n, width):
    x, asked = rows(n, width), rows(9, width, seed=1)
    head = _ShrunkGaussian()
    head.learn(x)
    covariance, _ = ledoit_wolf(x.double().numpy())
    off = asked.double().numpy() - x.double().numpy().mean(0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", off, np.linalg.inv(covariance), off) / width)
    np.testing.assert_allclose(head(asked), expected, rtol=2e-4)


def test_rows_that_do_not_differ_give_a_distance_all_the_same():
    head = _ShrunkGaussian()
    head.learn(torch.ones(1, 4))
    np.testing.assert_allclose(head(torch.tensor([[1.0, 1, 1, 1], [2, 2, 2, 2]])), [0, 1], atol=1e-6)


def test_neighbors_are_the_nearest_and_their_distances_averaged():
    x, asked = rows(30, 4), rows(6, 4, seed=1)
    head = Neighbors(3, 100, "coreset")
    head.learn(x, 0)
    apart = np.sqrt(((asked.numpy()[:, None] - x.numpy()[None]) ** 2).mean(2))
    np.testing.assert_allclose(head(asked), np.sort(apart, 1)[:, :3].mean(1), rtol=1e-5)
    few = Neighbors(3, 2, "coreset")
    few.learn(x, 0)
    assert few.kept.shape == (2, 4)
    assert torch.isfinite(few(asked)).all()


def test_a_coreset_is_greedy_and_covers_better_than_chance():
    x = rows(60, 3)
    chosen = coreset(x, 8, seed=0).tolist()
    naive = [0]
    while len(naive) < 8:
        naive.append(int(np.argmax([min(((one - x[c]) ** 2).sum() for c in naive) for one in x])))
    assert chosen == naive

    def reach(kept):
        return float(torch.cdist(x, x[kept]).amin(1).max())

    at_random = [np.random.default_rng(seed).choice(60, 8, replace=False) for seed in range(20)]
    assert reach(chosen) <= min(reach(kept) for kept in at_random)


@pytest.mark.parametrize("subsample", ["coreset", "random"])
def test_no_more_rows_are_kept_than_the_budget_allows(subsample):
    head = Neighbors(1, 10, subsample)
    x = rows(50, 200)
    head.learn(x, 3)
    assert head.kept.shape == (10, 200)
    assert all((row == x).all(1).any() for row in head.kept)
    again = Neighbors(1, 10, subsample)
    again.learn(x, 3)
    assert torch.equal(again.kept, head.kept)


def test_classes_have_their_names_or_are_found():
    x = torch.cat([torch.randn(20, 3, generator=torch.Generator().manual_seed(c)) + 20 * c for c in range(3)])
    names = ["run"] * 20 + ["dive"] * 20 + ["kick"] * 20
    assert classes_of(names, x, 8, 0).tolist() == [2] * 20 + [0] * 20 + [1] * 20
    found = classes_of([None, *names[1:]], x, 3, 0)
    assert sorted(len(set(part.tolist())) for part in found.split(20)) == [1, 1, 1]
    assert len(set(found.tolist())) == 3
    assert classes_of([None] * 2, x[:2], 8, 0).tolist() == [0, 0]


def test_all_heads_answer_at_once():
    x = rows(20, 6)
    heads = Heads(2, Neighbors(2, 5, "random"))
    heads.learn(x, x[:, :2], [None] * 20, 0)
    found = heads(x[:3], x[:3, :2])
    assert set(found) == {"centroid", "mahalanobis", "knn", "latent"}
    assert all(part.shape == (3,) for part in found.values())
