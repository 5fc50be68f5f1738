import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from offnormal.sources.health import CameraHealth, Finding, HealthOptions, SmallImage, _blocks

FPS = 5
SCENE = np.asarray(
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 16, 3), np.uint8)).resize(
        (128, 72), Image.Resampling.NEAREST
    )
)
QUICK = HealthOptions(learn_s=5)


def noisy(image, count, seed=0):
    """Frames of a fixed camera: the same scene with sensor noise."""
    rng = np.random.default_rng(seed)
    return [(image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8) for _ in range(count)]


def blurred(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(6)))


def watch(*stretches, health=None, start_s=0.0):
    """Return the findings for stretches of frames, one after the other."""
    health = health or CameraHealth(QUICK, now_s=start_s)
    findings = []
    for number, frame in enumerate(frame for stretch in stretches for frame in stretch):
        findings += health.update(SmallImage.from_frame(frame), start_s + number / FPS)
    return findings


def summarize(findings):
    return [(finding.trouble, finding.begins, round(finding.time_s, 1)) for finding in findings]


def test_a_steady_camera_has_no_trouble():
    assert watch(noisy(SCENE, 300)) == []


def test_a_frozen_image_is_reported_after_its_time_and_when_it_moves_again():
    still = noisy(SCENE, 1, seed=9) * (40 * FPS)
    findings = watch(noisy(SCENE, 50), still, noisy(SCENE, 10, seed=1))
    assert summarize(findings) == [("frozen", True, 40.2), ("frozen", False, 50.0)]
    assert findings[0].since_s == pytest.approx(10.2)


def test_shorter_repeats_do_not_count():
    doubled = [frame for frame in noisy(SCENE, 100) for _ in range(4)]
    assert watch(noisy(SCENE, 50), doubled, noisy(SCENE, 1, seed=9) * (29 * FPS), noisy(SCENE, 5, seed=2)) == []


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_covered_lens_is_reported_while_it_lasts(shade):
    cover = noisy(np.full_like(SCENE, shade), 30 * FPS)
    findings = [
        finding
        for finding in watch(noisy(SCENE, 50), cover, noisy(SCENE, 30 * FPS))
        if finding.trouble != "scene_change"
    ]
    assert summarize(findings) == [("covered", True, 15.0), ("covered", False, 42.0)]


def test_a_defocused_lens_is_reported_and_is_not_covered():
    findings = watch(noisy(SCENE, 50), noisy(blurred(SCENE), 30 * FPS), noisy(SCENE, 10 * FPS))
    assert summarize(findings) == [("defocused", True, 20.0), ("defocused", False, 42.0)]
    assert "of the usual detail" in findings[0].detail


def test_a_long_defocus_does_not_become_the_usual_state():
    health = CameraHealth(HealthOptions(learn_s=5, memory_s=10))
    findings = watch(noisy(SCENE, 50), noisy(blurred(SCENE), 300 * FPS), health=health)
    assert [finding.begins for finding in findings] == [True]
    assert health.troubles == ["defocused"]


def test_a_change_of_light_suppresses_anomalies_for_a_while():
    night = (SCENE[..., 1:2] * np.full(3, 0.3)).astype(np.uint8)
    health = CameraHealth(QUICK)
    findings = watch(noisy(SCENE, 50), noisy(night, 5), health=health)
    assert summarize(findings) == [("scene_change", True, 10.0)]
    assert health.suppresses_anomalies
    findings = watch(noisy(night, 60 * FPS), health=health, start_s=11.0)
    assert summarize(findings) == [("scene_change", False, 21.0)]
    assert 60 < int(findings[0].detail.partition("%")[0]) <= 100, "measured while it changed, not at the end"
    assert not health.suppresses_anomalies


def test_a_person_close_to_the_camera_is_no_trouble():
    rng = np.random.default_rng(0)
    person = SCENE.copy()
    person[:, 40:100] = rng.integers(0, 256, (72, 60, 3))
    findings = watch(noisy(SCENE, 50), noisy(person, 50), noisy(SCENE, 50))
    assert findings == []


def test_a_slow_dawn_is_no_trouble():
    dawn = [(frame * (0.4 + 0.6 * i / 300)).astype(np.uint8) for i, frame in enumerate(noisy(SCENE, 300))]
    assert watch(dawn) == []


def test_missing_frames_are_reported_from_the_clock_alone():
    health = CameraHealth(QUICK, now_s=100.0)
    assert health.tick(119.0) == []
    (begun,) = health.tick(120.0)
    assert begun == Finding("no_frames", True, 120.0, 100.0, "for 20 s")
    assert health.tick(500.0) == []
    (over,) = health.update(SmallImage.from_frame(SCENE), 501.0)
    assert (over.trouble, over.begins, over.since_s) == ("no_frames", False, 100.0)


def test_no_repeat_and_no_change_is_reported_across_a_gap():
    health = CameraHealth(HealthOptions(frozen_s=0.1))
    health.update(SmallImage.from_frame(SCENE), 0.0)
    health.gap()
    assert health.update(SmallImage.from_frame(255 - SCENE), 0.2) == []
    health.gap()
    assert health.update(SmallImage.from_frame(255 - SCENE), 0.4) == []


def test_a_frame_of_another_size_is_accepted():
    health = CameraHealth(QUICK)
    assert watch(noisy(SCENE, 10), noisy(SCENE[:50, :70], 10), health=health) == []


@pytest.mark.parametrize("shape", [(1, 1), (24, 24), (25, 24), (180, 320), (7, 300)])
def test_blocks_are_means_of_all_pixels(shape):
    gray = np.random.default_rng(0).random(shape).astype(np.float32)
    step = max(1, -(-max(shape) // 24))
    rows = [slice(i, i + step) for i in range(0, max(1, shape[0] - step + 1), step)]
    columns = [slice(i, i + step) for i in range(0, max(1, shape[1] - step + 1), step)]
    rows[-1], columns[-1] = slice(rows[-1].start, None), slice(columns[-1].start, None)
    expected = [[gray[row, column].mean() for column in columns] for row in rows]
    np.testing.assert_allclose(_blocks(gray), expected, rtol=1e-5)


def striped(detail, *, number, changed=0):
    """Columns of two values around 120 that differ by `detail`; the first `changed` of 16 are 40 levels brighter."""
    gray = np.tile(120 + detail / 2 * (-1.0) ** np.arange(16), (4, 1)).astype(np.float32)
    gray[:, :changed] += 40
    return SmallImage(gray, np.full((4, 16, 3), number % 251, np.uint8))  # no two frames in a row are the same


def update_with(health, image_at, from_s, until_s):
    """Return the findings for images at five per second."""
    numbers = range(round(from_s * FPS), round(until_s * FPS))
    return [finding for number in numbers for finding in health.update(image_at(number), number / FPS)]


def steady(detail):
    return lambda number: striped(detail, number=number)


def test_little_detail_with_the_usual_contrast_is_a_defocused_lens():
    """Half the columns 100, half 140: contrast as before, one edge instead of fifteen; half the parts change by 40."""
    health = CameraHealth(HealthOptions(learn_s=1, covered_s=1, defocused_s=1))
    edge = np.where(np.arange(16) < 8, 100, 140)[None].repeat(4, 0).astype(np.float32)
    assert update_with(health, steady(40), 0, 5) == []
    findings = update_with(health, lambda number: SmallImage(edge, striped(40, number=number).lattice), 5, 8)
    assert summarize(findings) == [("defocused", True, 6.0)]
    assert findings[0].detail == "7 % of the usual detail, 100 % of the usual contrast"


@pytest.mark.parametrize(("columns", "expected"), [(9, []), (10, [("scene_change", True, 5.0)])])
def test_the_scene_changes_if_more_than_a_share_of_blocks_changes(columns, expected):
    health = CameraHealth(HealthOptions(learn_s=1))  # 9 of 16 are 56 %, 10 are 63 %; the limit is 60 %
    assert update_with(health, steady(40), 0, 5) == []
    findings = update_with(health, lambda number: striped(40, number=number, changed=columns), 5, 5.2)
    assert summarize(findings) == expected


def test_a_frame_after_a_long_gap_counts_for_one_second():
    """5 s of detail 40 and 1 s of 24 are 37.3 on average, of which 15 is 40 %; of 24 it would be 62 %."""
    health = CameraHealth(HealthOptions(learn_s=1, defocused_s=1))
    update_with(health, steady(40), 0, 5)
    health.gap()
    assert update_with(health, steady(24), 1000, 1000.2) == []
    findings = update_with(health, steady(15), 1000.2, 1002)
    assert summarize(findings) == [("defocused", True, 1001.2)]


def test_the_usual_state_is_a_mean_over_the_memory():
    """20 s of detail 40, then 10 s of 24 with a memory of 10 s: 24 + 16 * 0.98^50 = 29.8; 34.7 without forgetting."""
    health = CameraHealth(HealthOptions(learn_s=1, memory_s=10, defocused_s=1))
    assert update_with(health, steady(40), 0, 20) + update_with(health, steady(24), 20, 30) == []
    assert update_with(health, steady(16), 30, 33) == []  # 54 % of 29.8, 46 % of 34.7
    assert summarize(update_with(health, steady(10), 33, 35)) == [("defocused", True, 34.0)]


def test_a_trouble_ends_after_it_has_been_clear_for_its_time():
    health = CameraHealth(HealthOptions(learn_s=1, defocused_s=1, clear_s=2))
    update_with(health, steady(40), 0, 5)
    assert summarize(update_with(health, steady(10), 5, 10)) == [("defocused", True, 6.0)]
    assert summarize(update_with(health, steady(40), 10, 14)) == [("defocused", False, 12.0)]


def test_large_frames_are_reduced():
    small = SmallImage.from_frame(np.zeros((1080, 1920, 3), np.uint8))
    assert max(small.gray.shape) <= 320
    assert max(small.lattice.shape) <= 320
    np.testing.assert_array_equal(SmallImage.from_frame(SCENE).lattice, SCENE)


def test_invalid_options_are_refused():
    with pytest.raises(ValueError, match="greater than 0"):
        HealthOptions(frozen_s=0)


def _findings_in(path):
    health, findings = CameraHealth(), []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            findings += health.update(SmallImage.from_frame(frame.to_ndarray(format="rgb24")), number / FPS)
    return findings


@pytest.mark.realdata
@pytest.mark.parametrize("hour", ["05-20", pytest.param("07-22", marks=pytest.mark.slow)])
def test_an_hour_of_normal_footage_has_no_trouble(real_data, hour):
    assert _findings_in(real_data / "video" / "upcam" / "train" / f"{hour}.mp4") == []


@pytest.mark.realdata
def test_every_light_switch_is_a_scene_change_and_the_only_trouble(real_data):
    findings = _findings_in(real_data / "video" / "upcam" / "eval" / "00.mp4")
    assert {finding.trouble for finding in findings} == {"scene_change"}
    begun = [finding.time_s * FPS for finding in findings if finding.begins]
    for switched in (8109, 10509, 10695, 11970, 17168):  # from the description of the footage
        assert any(abs(frame - switched) <= 5 for frame in begun)
    empty = [frame for frame in begun if 1558 < frame < 1876 or 14270 < frame < 15641]  # light on, empty room
    assert empty == []
