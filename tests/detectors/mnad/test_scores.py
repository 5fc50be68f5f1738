import numpy as np
import pytest
import torch

from offnormal.detectors.mnad.scores import per_video_score, psnr, squared_error, weighted_error
from offnormal.metrics.video import frame_auc


@pytest.mark.parametrize(("method", "first_frame"), [("pred", 4), ("recon", 0)])
def test_the_per_video_form_equals_the_reference(golden, method, first_frame):
    stored = golden("mnad_score")
    labels = np.concatenate([stored[f"labels__{video}"][first_frame:] for video in ("01", "02", "03")])
    for share in (0.0, 0.6, 0.7, 1.0):
        scores = []
        for video in ("01", "02", "03"):
            terms = [stored[f"{method}__{video}__{name}_f64"] for name in ("psnr", "featdist")]
            scores.append(per_video_score(*terms, share))
            if share in (0.6, 0.7):
                regular = stored[f"{method}__{video}__score_alpha{share}_f64"]
                np.testing.assert_allclose(1 - scores[-1], regular, atol=1e-9)
        auc = frame_auc(labels, np.concatenate(scores))
        assert auc == pytest.approx(float(stored[f"{method}__auc_alpha{share}_f64"]), abs=1e-9)


def test_the_psnr_equals_the_reference(golden):
    stored = golden("mnad_score")
    mse = torch.from_numpy(stored["recon__01__mse_f64"])
    np.testing.assert_allclose(psnr(mse[:, None, None, None]), stored["recon__01__psnr_f64"], rtol=1e-9)
    assert psnr(torch.zeros(1, 3, 2, 2)).item() == pytest.approx(100)


def test_the_weighted_error_equals_the_reference_and_ignored_pixels_do_not_count(golden):
    stored = golden("mnad_score")
    prediction, frame = ((torch.from_numpy(stored[f"point__{name}"]).double() + 1) / 2 for name in ("outputs", "imgs"))
    error = squared_error(prediction, frame)
    assert weighted_error(error).item() == pytest.approx(float(stored["point__score_f64"]), rel=1e-6)
    ignored = torch.zeros(16, 20, dtype=torch.bool)
    ignored[:5] = True
    part = squared_error(prediction, frame, ignored)
    torch.testing.assert_close(weighted_error(part), weighted_error(error[:, :, 5:]))
    torch.testing.assert_close(psnr(part), psnr(error[:, :, 5:]))


def test_the_weighted_error_of_the_paper_uses_whole_pixels():
    error = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    lengths = error.sum(1).sqrt()
    weights = 1 - torch.exp(-lengths)
    expected = (weights * lengths).sum((1, 2)) / weights.sum((1, 2))
    torch.testing.assert_close(weighted_error(error, "paper"), expected)


def test_a_perfect_prediction_has_no_weighted_error():
    assert weighted_error(torch.zeros(1, 3, 4, 4)).item() == 0
