import threading

from offnormal.sources.live_reader import Ended, Handover


def test_a_burst_is_kept_and_beyond_the_room_the_newest_win():
    place = Handover(3, stale_s=1000)
    assert all(place.put(i) for i in range(5))
    assert place.dropped == 2
    assert [place.get(0) for _ in range(4)] == [2, 3, 4, None]


def test_what_has_waited_too_long_gives_way():
    place = Handover(10, stale_s=0.0)
    for i in range(3):
        threading.Event().wait(0.002)
        place.put(i)
    assert (place.get(0), place.get(0), place.dropped) == (2, None, 2)


def test_without_drops_the_reader_waits_and_nothing_is_lost():
    place = Handover(1)
    reader = threading.Thread(target=lambda: [place.put(i) for i in range(50)] and place.end())
    reader.start()
    assert [place.get(5) for _ in range(50)] == list(range(50))
    assert place.get(5) == Ended(None)
    reader.join()
    assert place.dropped == 0


def test_the_end_comes_after_the_last_item_and_stays():
    place, error = Handover(2, stale_s=1), ValueError("broke")
    place.put(1)
    place.end(error)
    assert [place.get(0), place.get(0), place.get(0)] == [1, Ended(error), Ended(error)]


def test_closing_lets_both_sides_go():
    place = Handover(1)
    place.put(1)
    results = []
    writer = threading.Thread(target=lambda: results.append(place.put(2)))
    writer.start()
    place.close()
    writer.join(5)
    assert results == [False]
    assert place.get(None) is None
    assert not place.put(3)
