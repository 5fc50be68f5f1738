import torch

from offnormal.data.batches import Batch
from offnormal.detectors.parts.cut_paste import cut_paste, tell_pasted


def test_one_rectangle_of_each_picture_lies_over_another_place():
    numbers = torch.arange(20 * 24, dtype=torch.float32).view(1, 1, 20, 24)  # every pixel tells where it comes from
    pictures = torch.cat([numbers + 1000 * k for k in range(200)]).repeat(1, 2, 1, 1)
    before = pictures.clone()
    found = cut_paste(pictures, torch.Generator().manual_seed(1))
    assert torch.equal(pictures, before)
    shares = []
    for copy, picture in zip(found, pictures, strict=True):
        changed = (copy != picture).any(0)
        if not changed.any():  # laid where it came from
            continue
        rows, columns = (changed.any(axis).nonzero().flatten() for axis in (1, 0))
        inside = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        assert changed[inside].all()
        shift = (copy - picture)[:, *inside]
        assert (shift == shift[0, 0, 0]).all()  # one piece, moved as a whole
        shares.append(changed.float().mean().item())
    assert len(shares) > 190
    assert 0.01 < min(shares) < 0.04  # about 2 to 15 % of a picture
    assert 0.12 < max(shares) < 0.18


def test_it_repeats_with_the_seed():
    pictures = torch.rand(3, 1, 16, 16)
    first, same, other = (cut_paste(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_what_sees_pasted_pieces_is_told_from_what_does_not():
    normals = [
        Batch((0.01 * torch.rand(n, 1, 16, 16) + torch.linspace(0, 1, 256).view(16, 16)).numpy(), [], None)
        for n in (7, 5)
    ]
    plain = torch.linspace(0, 1, 256).view(16, 16)

    def terms(x):
        off = (x - plain).abs().mean((1, 2, 3))
        return {"sees": off, "blind": torch.zeros(len(x)), "inverted": -off}

    found = tell_pasted(terms, normals, seed=0)
    assert found["sees"] > 0.9
    assert found["blind"] == 0.5
    assert found["inverted"] < 0.1
