from offnormal.report.part_table import part_table


def test_parts_stand_best_first_with_what_is_known_of_each():
    table = part_table({"ae": {"frame_AUC_micro": 0.6, "frame_EER": 0.4}, "knn": {"frame_AUC_micro": 0.7}, "psnr": {}})
    assert table.metrics == ["frame_AUC_micro", "frame_EER"]
    assert table.rows == [("knn", [0.7, None]), ("ae", [0.6, 0.4])]


def test_one_part_alone_is_the_score_itself():
    assert part_table({"error": {"frame_AUC_micro": 0.7}}) is None
    assert part_table({}) is None
