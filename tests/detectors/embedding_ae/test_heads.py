import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from offnormal.detectors.embedding_ae.heads import Centroids, Heads, Neighbors, _ShrunkGaussian, assign_classes, coreset


def rows(n, width, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + 3).astype(np.float32))


def test_the_centroid_distance_is_to_the_nearest_class_mean():
    x, classes = rows(12, 5), torch.tensor([0, 1, 2] * 4)
    head = Centroids()
    head.learn(x, classes)
    means = np.stack([x.numpy()[classes.numpy() == c].mean(0) for c in range(3)])
    queries = rows(4, 5, seed=1)
    expected = [min(np.sqrt(((query - mean) ** 2).mean()) for mean in means) for query in queries.numpy()]
    np.testing.assert_allclose(head(queries), expected, rtol=1e-5)


@pytest.mark.parametrize(("n", "width"), [(200, 6), (7, 20), (30, 30)])  # also fewer rows than dimensions
def test_the_gaussian_is_that_of_ledoit_and_wolf(n, width):
    x, queries = rows(n, width), rows(9, width, seed=1)
    head = _ShrunkGaussian()
    head.learn(x)
    covariance, _ = ledoit_wolf(x.double().numpy())
    off = queries.double().numpy() - x.double().numpy().mean(0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", off, np.linalg.inv(covariance), off) / width)
    np.testing.assert_allclose(head(queries), expected, rtol=2e-4)


def test_identical_rows_give_a_finite_distance():
    head = _ShrunkGaussian()
    head.learn(torch.ones(1, 4))
    np.testing.assert_allclose(head(torch.tensor([[1.0, 1, 1, 1], [2, 2, 2, 2]])), [0, 1], atol=1e-6)


def test_the_neighbor_distance_is_the_mean_over_the_nearest():
    x, queries = rows(30, 4), rows(6, 4, seed=1)
    head = Neighbors(3, 100, "coreset")
    head.learn(x, 0)
    apart = np.sqrt(((queries.numpy()[:, None] - x.numpy()[None]) ** 2).mean(2))
    np.testing.assert_allclose(head(queries), np.sort(apart, 1)[:, :3].mean(1), rtol=1e-5)
    few = Neighbors(3, 2, "coreset")
    few.learn(x, 0)
    assert few.kept.shape == (2, 4)
    assert torch.isfinite(few(queries)).all()


def test_a_coreset_is_greedy_and_covers_better_than_chance():
    x = rows(60, 3)
    chosen = coreset(x, 8, seed=0).tolist()
    naive = [0]
    while len(naive) < 8:
        naive.append(int(np.argmax([min(((row - x[c]) ** 2).sum() for c in naive) for row in x])))
    assert chosen == naive

    def reach(selected):
        return float(torch.cdist(x, x[selected]).amin(1).max())

    at_random = [np.random.default_rng(seed).choice(60, 8, replace=False) for seed in range(20)]
    assert reach(chosen) <= min(reach(selected) for selected in at_random)


@pytest.mark.parametrize("subsample", ["coreset", "random"])
def test_stored_rows_stay_within_the_budget(subsample):
    head = Neighbors(1, 10, subsample)
    x = rows(50, 200)
    head.learn(x, 3)
    assert head.kept.shape == (10, 200)
    assert all((row == x).all(1).any() for row in head.kept)
    again = Neighbors(1, 10, subsample)
    again.learn(x, 3)
    assert torch.equal(again.kept, head.kept)


def test_classes_come_from_names_or_clusters():
    x = torch.cat([torch.randn(20, 3, generator=torch.Generator().manual_seed(c)) + 20 * c for c in range(3)])
    names = ["run"] * 20 + ["dive"] * 20 + ["kick"] * 20
    assert assign_classes(names, x, 8, 0).tolist() == [2] * 20 + [0] * 20 + [1] * 20
    classes = assign_classes([None, *names[1:]], x, 3, 0)
    assert sorted(len(set(part.tolist())) for part in classes.split(20)) == [1, 1, 1]
    assert len(set(classes.tolist())) == 3
    assert assign_classes([None] * 2, x[:2], 8, 0).tolist() == [0, 0]


def test_all_heads_score_together():
    x = rows(20, 6)
    heads = Heads(2, Neighbors(2, 5, "random"))
    heads.learn(x, x[:, :2], [None] * 20, 0)
    distances = heads(x[:3], x[:3, :2])
    assert set(distances) == {"centroid", "mahalanobis", "knn", "latent"}
    assert all(part.shape == (3,) for part in distances.values())
