import threading

from offnormal.sources.live_reader import EndOfStream, HandoverQueue


def test_a_burst_is_buffered_and_the_newest_items_win():
    place = HandoverQueue(3, stale_s=1000)
    assert all(place.put(i) for i in range(5))
    assert place.dropped == 2
    assert [place.get(0) for _ in range(4)] == [2, 3, 4, None]


def test_stale_items_are_dropped():
    place = HandoverQueue(10, stale_s=0.0)
    for i in range(3):
        threading.Event().wait(0.002)
        place.put(i)
    assert (place.get(0), place.get(0), place.dropped) == (2, None, 2)


def test_without_drops_the_reader_waits_and_loses_nothing():
    place = HandoverQueue(1)
    reader = threading.Thread(target=lambda: [place.put(i) for i in range(50)] and place.end())
    reader.start()
    assert [place.get(5) for _ in range(50)] == list(range(50))
    assert place.get(5) == EndOfStream(None)
    reader.join()
    assert place.dropped == 0


def test_the_end_follows_the_last_item_and_repeats():
    place, error = HandoverQueue(2, stale_s=1), ValueError("broke")
    place.put(1)
    place.end(error)
    assert [place.get(0), place.get(0), place.get(0)] == [1, EndOfStream(error), EndOfStream(error)]


def test_closing_releases_both_sides():
    place = HandoverQueue(1)
    place.put(1)
    results = []
    writer = threading.Thread(target=lambda: results.append(place.put(2)))
    writer.start()
    place.close()
    writer.join(5)
    assert results == [False]
    assert place.get(None) is None
    assert not place.put(3)
