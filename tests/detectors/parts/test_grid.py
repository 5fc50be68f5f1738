import pytest
import torch

from offnormal.detectors.parts.grid import concat_features, neighbours, on_grid, select_channels


def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, h, w, generator=generator) for c, h, w in ((3, 8, 12), (4, 4, 6), (5, 2, 3))]


def naive(features, grid):
    """Cell by cell."""
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
    features = [f.contiguous(memory_format=layout) for f in maps()]
    found = on_grid(features, grid)
    assert found.is_contiguous()
    torch.testing.assert_close(found, naive(features, grid))


def test_sizes_that_are_no_whole_multiples_take_the_nearest_cell():
    x = torch.arange(3.0).view(1, 1, 3, 1)
    assert on_grid([x], (5, 2))[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2]


def test_selecting_equals_indexing_all_channels():
    chosen = torch.tensor([0, 2, 4, 7, 11])
    everything = concat_features(maps())
    assert torch.equal(concat_features(select_channels(maps(), chosen)), everything[:, chosen])


def test_every_cell_meets_every_neighbour_once():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    met = {(i, j): [] for i in range(3) for j in range(4)}
    for models, seen, features in neighbours(x, reach=1):
        at = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij"))
        pairs = zip(at[:, *models].flatten(1).T.tolist(), at[:, *seen].flatten(1).T.tolist(), strict=True)
        for (i, j), (k, m) in pairs:
            assert features[0, 0, i, j] == x[0, 0, k, m]
            met[k, m].append((i, j))
    for (k, m), models in met.items():
        expected = {(i, j) for i in range(3) for j in range(4) if abs(i - k) <= 1 and abs(j - m) <= 1}
        assert sorted(models) == sorted(expected)
