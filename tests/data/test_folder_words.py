import unicodedata

import pytest

from offnormal.data.folder_words import meaning_of, meanings_of, split_mask_name


@pytest.mark.parametrize(
    ("meaning", "names"),
    [
        (
            "normal",
            "good GOOD OK 0.normal i.O. gut bons conforme buenos buone 良品 正常品 정상 양품 \uff2f\uff2b ok2 "
            "No2_OK PASS_cam1 "
            "GoodParts OKFront good_front goodsamples no_defect nodefects defect-free DefectFree free_of_defects "
            "fehlerfrei ohne_Kratzer sans_défaut sin_defectos senza_difetti 無欠陥 異常なし 无缺陷 무결함 결함없음",
        ),
        (
            "anomalous",
            "Bad 1.abnormal NG n.i.O. not_ok Défauts defectuosos difetti 不良 异常 缺陷 불량 ng-images NG_A 不良品画像 "
            "NG_front broken_large lot1_bad bad-01 front.NG NGParts badparts not_good NotGood notok no_good nicht_ok "
            "non_conforme no_conforme 不正常 表面不良 前面キズ 전면불량 good_bad "
            "No1_NG no.3_defect KO_front free_bad",
        ),
        (
            "train",
            "Train TRAINING train_ok Trainingsdaten entraînement Entrenamiento addestramento 学習データ 训练集 학습",
        ),
        (
            "test",
            "testset TestData cam1_test "
            "Test testing test_public test_good Test_Images évaluation prueba valutazione テスト 测试 테스트",
        ),
        (
            "validation",
            "val validation Validierung 验证",
        ),
        (
            "mask",
            "GTs maskimages NG_mask "
            "mask Masks GT ground_truth GroundTruth ground-truth Masken masques máscaras etichette マスク 标签 라벨",
        ),
    ],
)
def test_names_of_eight_languages_in_any_spelling(meaning, names):
    for name in names.split():
        assert meaning_of(name) == meaning, name
        assert meaning_of(unicodedata.normalize("NFD", name)) == meaning, name


@pytest.mark.parametrize(
    "name",
    [
        "testimony",
        "lot1",
        "2024-05",
        "camera_3",
        "images",
        "kos01",
        "bottle",
        "part_a",
        "badge",
        "trainer",
        "io_board",
        "no_mask",
        "unbroken",
        "dentist",
    ],
)
def test_other_names_say_nothing(name):
    assert meaning_of(name) is None


@pytest.mark.parametrize("name", ["NG_front", "train_station", "label_printer", "表面不良", "io_board"])
def test_a_whole_name_has_no_other_words(name):
    assert meaning_of(name, whole=True) is None


def test_a_name_may_say_several_things():
    assert [meanings_of(name) for name in ("train_ok", "bad_label", "test_not_good")] == [
        ["train", "normal"], ["mask", "anomalous"], ["anomalous", "test"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    (
        "stem",
        "image",
    ),
    [("10000_GT", "10000"), ("a-mask", "a"), ("Part0_label", "Part0"), ("gt_7", "7"), ("1_Maske", "1"), ("a_b", None)],
)
def test_the_image_of_a_mask(stem, image):
    assert split_mask_name(stem) == image
