import numpy as np

from offnormal.drawing.scatter import MAX_CLIPS, class_keys, project, scatter, spread_evenly


def test_separate_groups_stay_separate():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 0.1, (20, 16)), rng.normal(3, 0.1, (20, 16))])
    positions = project(vectors)
    far = np.linalg.norm(positions[:20].mean(0) - positions[20:].mean(0))
    assert far > 2 * max(
        np.linalg.norm(group - group.mean(0), axis=1).mean() for group in (positions[:20], positions[20:])
    )
    np.testing.assert_array_equal(positions, project(vectors))


def test_too_few_or_equal_vectors_are_not_projected():
    assert project(np.zeros((5, 3))) is None
    assert project(np.ones((30, 3))) is None
    assert project(np.concatenate([np.ones((30, 2)), np.arange(30)[:, None]], 1)).shape == (30, 2)


def test_anomalous_classes_are_crosses_after_the_normal_ones():
    keys = class_keys(["lift", "run", "kick", "run"], ["lift"])
    assert [(key.action, key.number, key.marker) for key in keys] == [
        ("run", 1, "o"),
        ("kick", 2, "o"),
        ("lift", 3, "X"),
    ]


def test_colors_are_variables_of_the_page():
    keys = class_keys(["run", "lift"], ["lift"])
    drawn = scatter(np.array([[0.0, 0], [1, 1]]), ["run", "lift"], np.array([True, False]), keys, "t-SNE <1>")
    assert "var(--run-1" in drawn
    assert "var(--run-2" in drawn
    assert "t-SNE &lt;1&gt;" in drawn


def test_many_clips_are_subsampled_evenly():
    assert spread_evenly(10).tolist() == list(range(10))
    assert len(spread_evenly(10 * MAX_CLIPS)) == MAX_CLIPS
