from offnormal.backoff import Backoff


def test_waits_grow_to_the_cap_and_differ():
    backoff = Backoff(1.0, 60.0)
    waits = [backoff.failed() for _ in range(200)]
    for i, wait_s in enumerate(waits):
        longest = min(60, 2**i)
        assert longest / 2 <= wait_s <= longest
    assert len(set(waits[10:])) > 150, "not all at once"
    backoff.succeeded()
    assert backoff.failed() <= 1
