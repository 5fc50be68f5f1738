from offnormal.verbs.loading import count_steps


def test_steps_add_up_and_the_total_is_computed_once():
    reports, calls = [], []
    count = count_steps(lambda *report: reports.append(report), "read", lambda: calls.append(1) or 5)
    for step in (2, 1, 4):
        count(step)
    assert reports == [("read", 2, 5), ("read", 3, 5), ("read", 7, 7)], "never more done than the total"
    assert calls == [1]


def test_without_a_total_the_steps_done_are_the_total():
    reports = []
    count = count_steps(lambda *report: reports.append(report), "watch")
    count(3)
    count(1)
    assert reports == [("watch", 3, 3), ("watch", 4, 4)]


def test_without_progress_there_is_no_callback():
    assert count_steps(None, "read") is None
