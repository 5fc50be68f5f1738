from offnormal.verbs.loading import count_steps


def test_steps_add_up_and_the_total_is_asked_for_once():
    heard, asked = [], []
    count = count_steps(lambda *given: heard.append(given), "read", lambda: asked.append(1) or 5)
    for step in (2, 1, 4):
        count(step)
    assert heard == [("read", 2, 5), ("read", 3, 5), ("read", 7, 7)], "never more done than there are"
    assert asked == [1]


def test_without_a_total_what_is_done_is_all_that_is_known():
    heard = []
    count = count_steps(lambda *given: heard.append(given), "watch")
    count(3)
    count(1)
    assert heard == [("watch", 3, 3), ("watch", 4, 4)]


def test_nothing_is_counted_for_nobody():
    assert count_steps(None, "read") is None
