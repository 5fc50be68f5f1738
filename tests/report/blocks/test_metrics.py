from offnormal.report.term_table import term_table


def test_terms_stand_best_first_with_what_is_known_of_each():
    table = term_table({"ae": {"frame_AUC_micro": 0.6, "frame_EER": 0.4}, "knn": {"frame_AUC_micro": 0.7}, "psnr": {}})
    assert table.metrics == ["frame_AUC_micro", "frame_EER"]
    assert table.rows == [("knn", [0.7, None]), ("ae", [0.6, 0.4])]


def test_one_term_alone_is_the_score_itself():
    assert term_table({"error": {"frame_AUC_micro": 0.7}}) is None
    assert term_table({}) is None
