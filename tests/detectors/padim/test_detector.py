import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from offnormal.backbones.base import Backbone, WeightCard
from offnormal.backbones.images import TimmBackbone
from offnormal.detectors.padim import Padim, PadimOptions, concat_features
from offnormal.detectors.parts.maps import min_distance
from offnormal.errors import ConfigError, FitError
from offnormal.metrics import image, pixel
from offnormal.types import InputSpec, Resize


class Toy(Backbone):
    """Two layers of fixed random filters at strides 4 and 8."""

    def __init__(self):
        super().__init__((0.5,) * 3, (0.5,) * 3)
        generator = torch.Generator().manual_seed(1)
        self.a, self.b = nn.Conv2d(3, 5, 4, 4), nn.Conv2d(3, 7, 8, 8)
        for layer in (self.a, self.b):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
            layer.bias.data.zero_()
        self.requires_grad_(False)
        self.channels, self.strides = {"a": 5, "b": 7}, {"a": (4, 4), "b": (8, 8)}
        self.card = WeightCard(
            backbone="toy", source="seed 1", license="none", mean=(0.5,) * 3, std=(0.5,) * 3, size=(32, 32)
        )

    def forward(self, x):
        x = self.normalize(x)
        return {"a": self.a(x).tanh(), "b": self.b(x).tanh()}


class ToyPadim(Padim):
    def make_backbone(self):
        return Toy()


SPEC = InputSpec(size=(32, 48))


def images(n, seed=0):
    return torch.rand(n, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


def toy(n=30, **options):
    detector = ToyPadim(PadimOptions(**options), SPEC)
    for batch in torch.split(images(n), 7):
        detector.update(batch)
    return detector


def test_concatenation_is_bit_equal_to_the_reference(golden):
    stored = {key: torch.from_numpy(value) for key, value in golden("padim_embedding_concat").items()}
    assert torch.equal(concat_features([stored["x"], stored["y"]]), stored["z_xy"])
    assert torch.equal(concat_features([stored["x"], stored["y"], stored["w"]]), stored["z_xyw"])
    assert torch.equal(concat_features([stored["xr"], stored["yr"]]), stored["zr"])


def resnet18_by_recipe(seed):
    """The reference's end-to-end weights, from a numeric recipe."""
    from torchvision.models import resnet18

    state = resnet18(weights=None).state_dict()
    for k, (name, value) in enumerate(state.items()):
        r = np.random.RandomState(seed * 1000 + k).standard_normal(tuple(value.shape))
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            r = np.zeros(tuple(value.shape))
        elif value.ndim == 4:
            r = r * np.sqrt(2 / (value.shape[1] * value.shape[2] * value.shape[3]))
        elif name.endswith("running_var"):
            r = 1 + 0.2 * np.abs(r)
        elif name.endswith(("running_mean", "bias")):
            r = 0.1 * r
        else:
            r = 1 + 0.1 * r
        state[name] = torch.from_numpy(np.asarray(r)).to(value.dtype)
    return state


def test_end_to_end_equals_the_reference(golden, tmp_path):
    stored = golden("padim_e2e_resnet18")
    weights = tmp_path / "resnet18.pth"
    torch.save(resnet18_by_recipe(int(stored["seed"])), weights)
    spec = InputSpec(size=(224, 224), resize=Resize(policy="short_side", short_side=256, interpolation="lanczos"))
    options = PadimOptions(
        backbone="resnet18", weights=weights, grid_stride=4, reduce="random", features=100, eps_relative=False
    )
    detector = Padim(options, spec)
    detector.load_pretrained()
    random.seed(1024)
    detector.chosen_0 = torch.tensor(random.sample(range(448), 100))

    from offnormal.data.images import resize, stack
    from offnormal.data.masks import check_mask

    def pixels(images):
        arrays = [np.asarray(resize(Image.fromarray(x), spec)).transpose(2, 0, 1) for x in images]
        return torch.from_numpy(stack(arrays))

    with torch.inference_mode():
        test = pixels(stored["test"])
        features = detector.backbone(test)
        assert list(features) == ["layer1", "layer2", "layer3"]
        detector.update(pixels(stored["train"]))
        detector.finish()
        parts = detector._split(detector.embed(test))
        distances = detector.gaussians[0].mahalanobis(parts[0])
        output = detector(test)
    np.testing.assert_allclose(distances, stored["dist"], rtol=1e-3)
    maps = output.map[:, 0]
    scaled = ((maps - maps.min()) / (maps.max() - maps.min())).numpy()
    np.testing.assert_allclose(scaled[:, ::4, ::4], stored["scores_stride4"], atol=1e-4)
    np.testing.assert_allclose(scaled.max((1, 2)), stored["image_scores"], atol=1e-4)
    assert image.auroc(stored["labels"], output.score[:, 0]) == pytest.approx(float(stored["image_auroc"]))
    masks = np.stack([check_mask(mask > 0, spec, "m.png")[0] for mask in stored["masks"]])
    assert pixel.auroc(masks, scaled) == pytest.approx(float(stored["pixel_auroc"]), abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grid_stride": 4},
        {"fusion": "sum"},
        {"reduce": "random", "features": 5},
        {"reduce": "pca", "features": 4},
        {"reduce": "pca", "features": 4, "fusion": "sum"},
        {"eps_relative": False, "border": "reflect_torch", "sigma": 2},
    ],
)
@pytest.mark.parametrize("n", [5, 30])
def test_halves_merged_equal_the_whole(options, n):
    whole = toy(n, **options)
    first, second = (
        ToyPadim(PadimOptions(**options), SPEC),
        ToyPadim(PadimOptions(**options), SPEC),
    )
    first.update(images(n)[: n // 2])
    second.update(images(n)[n // 2 :])
    first.merge(second)
    whole.finish()
    first.finish()
    test = images(4, seed=9)
    with torch.inference_mode():
        a, b = whole(test), first(test)
    torch.testing.assert_close(a.map, b.map, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.score[:, 0], a.map.amax((1, 2, 3)))


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("reduce", ["none", "random", "pca"])
def test_maps_equal_a_naive_computation_in_float64(reduce, n):
    """Grid, channels, covariance with relative ridge, distance, upsampling, and blur in plain numpy and scipy."""
    from scipy.ndimage import gaussian_filter

    detector = toy(n, reduce=reduce, **({} if reduce == "none" else {"features": 5}))

    def embed(x):
        a, b = detector.backbone(x).values()
        rows = np.concatenate([a.reshape(len(x), 5, 4, 2, 6, 2).mean((3, 5)), b], 1).astype(np.float64)
        if reduce == "random":
            rows = rows[:, detector.chosen_0.numpy()]
        return rows  # (N, D, 4, 6)

    train, test = embed(images(n)), embed(images(3, seed=8))
    if reduce == "pca":
        flat = train.transpose(0, 2, 3, 1).reshape(-1, 12)
        directions = np.linalg.eigh(np.cov(flat, rowvar=False))[1][:, -5:]
        train, test = (np.einsum("nchw,cd->ndhw", rows, directions) for rows in (train, test))
    ridge = 0.01 * train.var(0, ddof=1).mean((1, 2))
    distances = np.zeros((3, 4, 6))
    for i in range(4):
        for j in range(6):
            inverse = np.linalg.inv(np.cov(train[:, :, i, j], rowvar=False) + np.diag(ridge))
            z = test[:, :, i, j] - train[:, :, i, j].mean(0)
            distances[:, i, j] = np.sqrt(np.einsum("nd,de,ne->n", z, inverse, z))
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(distances)[:, None], size=(32, 48), mode="bilinear", align_corners=False
    )[:, 0]
    expected = np.stack([gaussian_filter(m, 4) for m in enlarged.numpy()])
    detector.finish()
    output = detector(images(3, seed=8))
    np.testing.assert_allclose(output.map[:, 0], expected, rtol=2e-3)
    np.testing.assert_allclose(output.score[:, 0], expected.max((1, 2)), rtol=2e-3)


@pytest.mark.parametrize("n", [30, 60])
def test_leave_one_out_scores_with_default_options_equal_refitting_except_for_the_ridge(n):
    detector = toy(n)
    left_out = torch.cat([output.score for output in detector.leave_one_out(detector.embed(images(n)))])
    for i in (0, 11):
        other = ToyPadim(PadimOptions(), SPEC)
        other.update(torch.cat([images(n)[:i], images(n)[i + 1 :]]))
        other.finish()
        torch.testing.assert_close(left_out[i : i + 1], other(images(n)[i : i + 1]).score, rtol=0.02, atol=0)


def test_the_sum_of_maps_is_the_sum_of_the_maps_of_each_layer():
    summed = toy(fusion="sum")
    summed.finish()
    singles = []
    for layer in ("a", "b"):

        class SingleLayer(Toy):
            def __init__(self, layer=layer):
                super().__init__()
                self.channels, self.strides = {layer: self.channels[layer]}, {layer: self.strides[layer]}

        class SingleLayerPadim(Padim):
            def make_backbone(self, backbone=SingleLayer):
                return backbone()

        single = SingleLayerPadim(PadimOptions(), SPEC)
        single.update(images(30))
        single.finish()
        singles.append(single(images(2, seed=3)).map)
    torch.testing.assert_close(summed(images(2, seed=3)).map, singles[0] + singles[1], rtol=1e-4, atol=1e-4)


def test_principal_components_are_the_directions_of_largest_variance():
    detector = toy(reduce="pca", features=3)
    rows = detector.embed(images(30)).view(-1, 12).double().numpy()
    detector.finish()
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    overlap = np.abs(vectors[:, -3:].T @ detector.components_0.double().numpy())
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)
    assert values[-1] > values[0]


def test_the_seed_selects_the_channels():
    a, b, c = (toy(reduce="random", features=4, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.chosen_0, b.chosen_0)
    assert not torch.equal(a.chosen_0, c.chosen_0)
    assert len(set(a.chosen_0.tolist())) == 4
    with pytest.raises(FitError, match="different channels"):
        a.merge(c)


def test_selecting_before_upsampling_equals_selecting_after():
    chosen = toy(reduce="random", features=6, grid_stride=4, seed=3)
    features = chosen.backbone(images(2))
    expected = concat_features(list(features.values()))[:, chosen.chosen_0]
    assert torch.equal(chosen.embed(images(2)), expected.permute(0, 2, 3, 1).flatten(1))


def test_leave_one_out_scores_equal_refitting_without_the_image():
    detector = toy(12, eps_relative=False)
    embedding = detector.embed(images(12))
    left_out = torch.cat([output.score for output in detector.leave_one_out(embedding)])
    for i in (0, 7):
        other = ToyPadim(PadimOptions(eps_relative=False), SPEC)
        other.update(torch.cat([images(12)[:i], images(12)[i + 1 :]]))
        other.finish()
        torch.testing.assert_close(left_out[i : i + 1], other(images(12)[i : i + 1]).score, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "rtol"),
    [({"neighbors": 3}, 1e-3), ({"rank": 2}, 0.1), ({"shrinkage": 0.3}, 0.03), ({"shrinkage": "auto"}, 0.03)],
)
def test_leave_one_out_scores_approximate_refitting_without_the_image(options, rtol):
    """Exact with neighbors; otherwise except for choices made from all images, such as directions."""
    detector = toy(40, eps_relative=False, **options)
    embedding = detector.embed(images(40))
    left_out = torch.cat([output.score for output in detector.leave_one_out(embedding)])
    for i in (0, 7):
        other = ToyPadim(PadimOptions(eps_relative=False, **options), SPEC)
        other.update(torch.cat([images(40)[:i], images(40)[i + 1 :]]))
        other.finish()
        score = other(images(40)[i : i + 1]).score
        torch.testing.assert_close(left_out[i : i + 1], score, rtol=rtol, atol=1e-3)


def test_neighbors_use_the_smallest_distance_around():
    detector, x = toy(neighbors=3), images(3)
    detector.finish()
    (features,) = detector._split(detector.embed(x))
    gaussian = detector.gaussians[0]
    height, width = features.shape[2:]
    for i, j in ((0, 0), (0, 2), (1, 2), (height - 1, width - 1)):
        around = [
            gaussian.mahalanobis(features[:, :, i : i + 1, j : j + 1].expand_as(features))[:, k, m]
            for k in range(max(0, i - 1), min(height, i + 2))
            for m in range(max(0, j - 1), min(width, j + 2))
        ]
        distances = min_distance(features, gaussian.mahalanobis, 1)[:, i, j]
        torch.testing.assert_close(distances, torch.stack(around).amin(0))


def test_top_pooling_is_the_mean_of_the_highest_values():
    highest, top = toy(), toy(pool="top", top_share=0.1)
    for detector in (highest, top):
        detector.finish()
    x = images(3)
    torch.testing.assert_close(highest(x).score[:, 0], highest(x).map.amax((1, 2, 3)))
    expected = top(x).map.flatten(1).sort(descending=True).values[:, : round(0.1 * 32 * 48)].mean(1)
    torch.testing.assert_close(top(x).score[:, 0], expected)
    assert (top(x).score < highest(x).score).all()


def test_an_ignored_region_never_counts():
    region = torch.zeros(32, 48, dtype=torch.bool)
    region[:, :20] = True
    detector = ToyPadim(PadimOptions(), SPEC)
    detector.ignore(region)
    detector.update(images(30))
    detector.finish()
    test = images(2, seed=5)
    changed = test.clone()
    changed[:, :, 4:28, 0:8] = 0
    with torch.inference_mode():
        before, after = detector(test), detector(changed)
    assert (before.map[..., :20] == 0).all()
    torch.testing.assert_close(before.map[..., 24:], after.map[..., 24:])
    changed[:, :, 4:28, 32:40] = 0
    assert not torch.allclose(detector(changed).map[..., 24:], before.map[..., 24:])


def test_an_ignored_region_must_have_the_input_size_and_leave_pixels():
    detector = ToyPadim(PadimOptions(), SPEC)
    with pytest.raises(ConfigError, match="expected"):
        detector.ignore(torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="100 %"):
        detector.ignore(torch.ones(32, 48, dtype=torch.bool))


def test_wrong_options_are_explained():
    with pytest.raises(ConfigError, match="the layers have 12 channels"):
        toy(reduce="random", features=13)
    with pytest.raises(ConfigError, match="--reduce"):
        toy(features=5)
    with pytest.raises(ConfigError, match="expects channels=3, frames=1"):
        ToyPadim(PadimOptions(), InputSpec(size=(32, 32), channels=1))


def test_the_input_nests_the_grids_of_the_layers():
    assert Padim.input_multiple(PadimOptions()) == 16
    assert Padim.input_multiple(PadimOptions(layers=["blocks.1"])) == 4
    assert Padim.input_multiple(PadimOptions(grid_stride=32)) == 32


def test_the_backbone_is_cut_after_the_last_used_layer():
    full, short = TimmBackbone("efficientnet_lite0"), TimmBackbone("efficientnet_lite0", ["blocks.1"])
    assert sum(p.numel() for p in short.parameters()) < 0.05 * sum(p.numel() for p in full.parameters())


def test_numbers_as_text_are_parsed(parts, tmp_path):
    from offnormal.cli.main import run

    assert PadimOptions(neighbors="3").neighbors == 3
    arguments = ["fit", "padim", "--data", str(parts), "--size", "64", "--out", str(tmp_path), "--shrinkage", "0.1"]
    assert run([*arguments, "--neighbors", "3", "--pool", "top", "--rank", "8"]) == 0
    assert run([*arguments, "--neighbors", "2"]) == 2
