import numpy as np
import pytest
from PIL import Image

from offnormal.data.layouts.ubnormal import UbnormalLayout
from offnormal.data.open import open_datasets
from offnormal.errors import DataError
from tests.data.footage import write_video


def scenes(root, *, tracks="1.0,2.0,4.0\n2.0,4.0,5.0\n"):
    for scene in (1, 2):
        for scenario in (1, 2):
            write_video(root / f"Scene{scene}/normal_scene_{scene}_scenario_{scenario}.mp4", 6, fps=30)
        name = f"abnormal_scene_{scene}_scenario_1"
        write_video(root / f"Scene{scene}/{name}.mp4", 8, fps=30)
        folder = root / f"Scene{scene}/{name}_annotations"
        folder.mkdir()
        (folder / f"{name}_tracks.txt").write_text(tracks)
        for frame in range(8):  # all objects, normal ones included
            Image.fromarray(np.full((32, 48), 3, np.uint8)).save(folder / f"{name}_{frame:04}_gt.png")
    return root


def test_normal_videos_train_and_tracks_label_frames(tmp_path):
    (dataset,) = open_datasets(scenes(tmp_path / "UBnormal"))
    assert dataset.layout == "ubnormal"
    assert [item.name for item in dataset.train] == [f"normal_scene_{a}_scenario_{b}" for a in (1, 2) for b in (1, 2)]
    assert [item.name for item in dataset.test] == ["abnormal_scene_1_scenario_1", "abnormal_scene_2_scenario_1"]
    for item in dataset.test:
        assert item.frame_labels.tolist() == [0, 0, 1, 1, 1, 1, 0, 0] and item.masks is None


def test_the_lists_of_the_authors_split_the_videos(tmp_path):
    root = scenes(tmp_path / "UBnormal")
    (root / "scripts").mkdir()
    for split, scene, scenario in (("training", 1, 1), ("validation", 1, 2), ("test", 2, 1)):
        (root / f"scripts/normal_{split}_video_names.txt").write_text(f"normal_scene_{scene}_scenario_{scenario}\n")
        (root / f"scripts/abnormal_{split}_video_names.txt").write_text(f"abnormal_scene_{scene}_scenario_1\n")
    dataset = UbnormalLayout.read(root)
    assert [item.name for item in dataset.train] == ["normal_scene_1_scenario_1"]
    assert [item.name for item in dataset.calibration] == ["normal_scene_1_scenario_2"]
    assert {item.name: int(item.frame_labels.sum()) for item in dataset.test} == {
        "abnormal_scene_2_scenario_1": 4,
        "normal_scene_2_scenario_1": 0,
    }


def test_corrected_tracks_and_frame_labels(tmp_path):
    root = scenes(tmp_path)
    folder = root / "Scene1/abnormal_scene_1_scenario_1_annotations"
    (folder / "abnormal_scene_1_scenario_1_new_tracks.txt").write_text("1,0,0\n")
    other = root / "Scene2/abnormal_scene_2_scenario_1_annotations"
    (other / "abnormal_scene_2_scenario_1_tracks.txt").unlink()
    np.savetxt(other / "ground_truth_frame_level.txt", [0, 1, 1, 0, 0, 0, 0, 1])
    labels = [item.frame_labels.tolist() for item in UbnormalLayout.read(root).test]
    assert labels == [[1, 0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 1]]


def test_an_abnormal_video_without_tracks_and_lines_in_another_form_are_refused(tmp_path):
    file = scenes(tmp_path) / "Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt"
    for text, message in (("1,5\n", "line 1"), ("a,b,c\n", "line 1"), ("", "0 tracks"), ("1,9,12\n", "has 8 frames")):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            UbnormalLayout.read(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"abnormal_scene_1_scenario_1\.mp4: no frame labels; expected"):
        UbnormalLayout.read(tmp_path)
