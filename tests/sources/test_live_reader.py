import threading

from offnormal.sources.live_reader import EndOfStream, HandoverQueue


def test_a_burst_is_buffered_and_the_newest_items_win():
    queue = HandoverQueue(3, stale_s=1000)
    assert all(queue.put(i) for i in range(5))
    assert queue.dropped == 2
    assert [queue.get(0) for _ in range(4)] == [2, 3, 4, None]


def test_stale_items_are_dropped():
    queue = HandoverQueue(10, stale_s=0.0)
    for i in range(3):
        threading.Event().wait(0.002)
        queue.put(i)
    assert (queue.get(0), queue.get(0), queue.dropped) == (2, None, 2)


def test_without_drops_the_reader_waits_and_loses_nothing():
    queue = HandoverQueue(1)
    reader = threading.Thread(target=lambda: [queue.put(i) for i in range(50)] and queue.end())
    reader.start()
    assert [queue.get(5) for _ in range(50)] == list(range(50))
    assert queue.get(5) == EndOfStream(None)
    reader.join()
    assert queue.dropped == 0


def test_the_end_follows_the_last_item_and_repeats():
    queue, error = HandoverQueue(2, stale_s=1), ValueError("broke")
    queue.put(1)
    queue.end(error)
    assert [queue.get(0), queue.get(0), queue.get(0)] == [1, EndOfStream(error), EndOfStream(error)]


def test_closing_releases_both_sides():
    queue = HandoverQueue(1)
    queue.put(1)
    results = []
    writer = threading.Thread(target=lambda: results.append(queue.put(2)))
    writer.start()
    queue.close()
    writer.join(5)
    assert results == [False]
    assert queue.get(None) is None
    assert not queue.put(3)
