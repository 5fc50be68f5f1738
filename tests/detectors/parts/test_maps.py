import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from offnormal.detectors.parts.maps import (
    _bilinear_matrix,
    concat_features,
    concat_on_grid,
    enlarge_and_smooth,
    select_channels,
    shifted_neighbors,
    smooth,
    smooth_within,
)


@pytest.mark.parametrize("shape", [(64, 64), (37, 80), (5, 9), (1, 7)])
@pytest.mark.parametrize("sigma", [4.0, 1.3])
def test_smooth_equals_scipy_even_with_a_kernel_wider_than_the_map(shape, sigma):
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(3, *shape)))
    expected = np.stack([gaussian_filter(m, sigma) for m in maps.numpy()])
    np.testing.assert_allclose(smooth(maps, sigma).numpy(), expected, atol=1e-12)


def test_smooth_with_torch_border_equals_padding_and_convolution():
    maps = torch.rand(2, 40, 50, dtype=torch.float64)
    offsets = torch.arange(-16, 17, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / 4) ** 2)
    kernel = (kernel[:, None] * kernel[None, :]) / kernel.sum() ** 2
    padded = F.pad(maps[:, None], (16,) * 4, mode="reflect")
    expected = F.conv2d(padded, kernel[None, None])[:, 0]
    torch.testing.assert_close(smooth(maps, 4.0, "reflect_torch"), expected)


def test_smooth_without_sigma_changes_nothing():
    maps = torch.rand(2, 6, 6)
    assert torch.equal(smooth(maps, 0), maps)


@pytest.mark.parametrize(("source", "target"), [(8, 64), (7, 30), (1, 5), (9, 9), (12, 5)])
def test_bilinear_matrix_equals_torch(source, target):
    row = torch.rand(source, dtype=torch.float64)
    expected = F.interpolate(row[None, None], size=target, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(_bilinear_matrix(source, target) @ row, expected)


def test_enlarge_and_smooth_equals_the_reference(golden):
    stored = golden("padim_gaussian_mahalanobis")
    size = int(stored["out_size"])
    maps = enlarge_and_smooth(torch.from_numpy(stored["dist"]), (size, size), 4.0, "reflect_scipy")
    np.testing.assert_allclose(maps.numpy(), stored["score_map"], rtol=1e-5)
    scaled = (maps - maps.min()) / (maps.max() - maps.min())
    np.testing.assert_allclose(scaled.numpy(), stored["scores"], atol=1e-5)
    np.testing.assert_allclose(scaled.amax((1, 2)).numpy(), stored["image_scores"], atol=1e-5)


def test_enlarge_and_smooth_with_torch_border_equals_anomalib(golden):
    stored = golden("padim_anomalib_variant")
    maps = enlarge_and_smooth(torch.from_numpy(stored["dist"][:, 0]), (64, 64), 4.0, "reflect_torch")
    np.testing.assert_allclose(maps.numpy(), stored["anomaly_map"][:, 0], rtol=1e-3)
    np.testing.assert_allclose(maps.amax((1, 2)).numpy(), stored["pred_score"][:, 0], rtol=1e-3)


def test_enlarge_and_smooth_equals_its_two_steps_on_rectangles():
    maps = torch.rand(2, 5, 9, dtype=torch.float64)
    enlarged = F.interpolate(maps[:, None], size=(40, 54), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(
        enlarge_and_smooth(maps, (40, 54), 2.0, "reflect_scipy"), smooth(enlarged, 2.0, "reflect_scipy")
    )


def test_ignored_pixels_affect_neither_scores_nor_maps():
    maps = torch.rand(2, 12, 14, dtype=torch.float64)
    ignored = torch.zeros(12, 14, dtype=torch.bool)
    ignored[:, 9:] = True
    smoothed = smooth_within(maps, ignored, 2.0)
    assert torch.equal(smoothed, smooth_within(torch.where(ignored, 9.0, maps), ignored, 2.0))
    assert not smoothed[:, ignored].any()
    level = smooth_within(torch.ones(1, 12, 14, dtype=torch.float64), ignored, 2.0)
    torch.testing.assert_close(level[:, ~ignored], torch.ones(1, 108, dtype=torch.float64))
    assert torch.equal(smooth_within(maps, None, 2.0), smooth(maps, 2.0))


def layers():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, h, w, generator=generator) for c, h, w in ((3, 8, 12), (4, 4, 6), (5, 2, 3))]


def naive(features, grid):
    """Average or repeat cell by cell."""
    out = torch.zeros(2, *grid, sum(f.shape[1] for f in features))
    for i in range(grid[0]):
        for j in range(grid[1]):
            parts = []
            for f in features:
                rows = slice(
                    i * f.shape[2] // grid[0], max(i * f.shape[2] // grid[0] + 1, (i + 1) * f.shape[2] // grid[0])
                )
                columns = slice(
                    j * f.shape[3] // grid[1], max(j * f.shape[3] // grid[1] + 1, (j + 1) * f.shape[3] // grid[1])
                )
                parts.append(f[:, :, rows, columns].mean((2, 3)))
            out[:, i, j] = torch.cat(parts, 1)
    return out


@pytest.mark.parametrize("grid", [(8, 12), (4, 6), (2, 3), (1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layers_are_repeated_or_averaged_onto_the_grid(grid, layout):
    features = [f.contiguous(memory_format=layout) for f in layers()]
    embedding = concat_on_grid(features, grid)
    assert embedding.is_contiguous()
    torch.testing.assert_close(embedding, naive(features, grid))


def test_sizes_that_are_not_multiples_use_the_nearest_cell():
    x = torch.arange(3.0).view(1, 1, 3, 1)
    assert concat_on_grid([x], (5, 2))[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2]


def test_selecting_equals_indexing_all_channels():
    chosen = torch.tensor([0, 2, 4, 7, 11])
    everything = concat_features(layers())
    assert torch.equal(concat_features(select_channels(layers(), chosen)), everything[:, chosen])


def test_every_cell_is_paired_with_every_neighbor_once():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    met = {(i, j): [] for i in range(3) for j in range(4)}
    for models, neighbors, features in shifted_neighbors(x, reach=1):
        cells = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij"))
        pairs = zip(cells[:, *models].flatten(1).T.tolist(), cells[:, *neighbors].flatten(1).T.tolist(), strict=True)
        for (i, j), (k, m) in pairs:
            assert features[0, 0, i, j] == x[0, 0, k, m]
            met[k, m].append((i, j))
    for (k, m), models in met.items():
        expected = {(i, j) for i in range(3) for j in range(4) if abs(i - k) <= 1 and abs(j - m) <= 1}
        assert sorted(models) == sorted(expected)
