import torch

from offnormal.data.batches import Batch
from offnormal.detectors.parts.cut_paste import cut_paste, cut_paste_auroc


def test_one_rectangle_of_each_image_is_pasted_elsewhere_in_it():
    numbers = torch.arange(20 * 24, dtype=torch.float32).view(1, 1, 20, 24)  # every pixel encodes its origin
    images = torch.cat([numbers + 1000 * k for k in range(200)]).repeat(1, 2, 1, 1)
    before = images.clone()
    copies = cut_paste(images, torch.Generator().manual_seed(1))
    assert torch.equal(images, before)
    shares = []
    for copy, image in zip(copies, images, strict=True):
        changed = (copy != image).any(0)
        if not changed.any():  # pasted in the same position
            continue
        rows, columns = (changed.any(axis).nonzero().flatten() for axis in (1, 0))
        inside = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        assert changed[inside].all()
        shift = (copy - image)[:, *inside]
        assert (shift == shift[0, 0, 0]).all()  # one patch, moved as a whole
        shares.append(changed.float().mean().item())
    assert len(shares) > 190
    assert 0.01 < min(shares) < 0.04  # about 2 to 15 % of an image
    assert 0.12 < max(shares) < 0.18


def test_the_seed_determines_the_patch():
    images = torch.rand(3, 1, 16, 16)
    first, same, other = (cut_paste(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_sensitive_scores_have_a_high_auroc():
    normals = [
        Batch((0.01 * torch.rand(n, 1, 16, 16) + torch.linspace(0, 1, 256).view(16, 16)).numpy(), [], None)
        for n in (7, 5)
    ]
    plain = torch.linspace(0, 1, 256).view(16, 16)

    def terms(x):
        distance = (x - plain).abs().mean((1, 2, 3))
        return {"sensitive": distance, "blind": torch.zeros(len(x)), "inverted": -distance}

    aurocs = cut_paste_auroc(terms, normals, seed=0)
    assert aurocs["sensitive"] > 0.9
    assert aurocs["blind"] == 0.5
    assert aurocs["inverted"] < 0.1
