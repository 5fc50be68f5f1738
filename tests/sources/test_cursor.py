from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.sources.cursor import PROBED, Numbers, timeline

BASE = Fraction(1, 10)


@st.composite
def streams(draw):
    """Packets (pts, key) in decoding order, each GOP an I, then P before the B shown earlier, with uneven times."""
    packets, time = [], draw(st.integers(-50, 50))
    for _ in range(draw(st.integers(1, 12))):
        times = [time := time + draw(st.integers(1, 9)) for _ in range(draw(st.integers(1, 12)))]
        packets.append((times[0], True))
        for at in range(1, len(times), 3):
            group = times[at : at + 3]
            packets += [(group[-1], False), *((pts, False) for pts in group[:-1])]
    return packets


def decoded(packets, *, refused=frozenset(), silent=frozenset()):
    """Numbers of the pictures: each comes out when no packet with an earlier time is still to come."""
    numbers, waiting, out = Numbers(), [], []
    for i, (pts, key) in enumerate(packets):
        numbers.packet(pts, key=key)
        if pts in refused:
            numbers.failure(pts)
        elif pts not in silent:
            waiting.append(pts)
        later = {p for p, _ in packets[i + 1 :]}
        for ready in sorted(p for p in waiting if all(p < other for other in later)):
            waiting.remove(ready)
            out.append((numbers.picture(ready), ready))
    return numbers, out


def sized(packets):
    return [(*packet, 100 + i) for i, packet in enumerate(packets)]


@given(streams(), st.sets(st.integers(0, 200)))
def test_pictures_are_numbered_by_the_rank_of_their_time_also_where_some_were_refused(packets, lost):
    ordered = sorted(pts for pts, _ in packets)
    refused = {ordered[i] for i in lost if 0 < i < len(ordered)}
    numbers, out = decoded(packets, refused=refused)
    assert out == [(i, pts) for i, pts in enumerate(ordered) if pts not in refused]
    assert numbers.missing == 0
    found = timeline(sized(packets), out[:PROBED], BASE)
    assert found is not None
    assert found.pts.tolist() == ordered
    assert [found.number(pts) for _, pts in out] == [number for number, _ in out]


def plain(count, *, every=10):
    return [(i, i % every == 0) for i in range(count)]


def test_a_picture_lost_in_silence_leaves_a_gap_once_packets_were_seen_to_hold_one_picture_each():
    packets, silent = plain(PROBED + 40), {PROBED + 7, PROBED + 8}
    numbers, out = decoded(packets, silent=silent)
    assert all(number == pts for number, pts in out)
    assert numbers.missing == 2
    assert timeline(sized(packets), out[:PROBED], BASE) is not None


def test_pictures_are_counted_where_some_packets_hold_none():
    packets = plain(PROBED + 40)
    _, out = decoded(packets, silent={5, 20, PROBED + 9})
    assert [number for number, _ in out] == list(range(len(packets) - 3))
    assert timeline(sized(packets), out[:PROBED], BASE) is None


def test_packets_known_to_hold_one_picture_each_are_never_counted():
    numbers, got = Numbers(one_each=True), []
    for pts in range(10):
        numbers.packet(pts, key=True)
        if pts not in (3, 4):
            got.append(numbers.picture(pts))
    assert got == [0, 1, 2, 5, 6, 7, 8, 9]
    assert numbers.missing == 2


def test_what_precedes_the_first_picture_that_can_be_decoded_is_not_counted():
    packets = plain(30)
    _, out = decoded(packets, refused={0, 1, 2})
    assert out[0] == (0, 3)
    found = timeline(sized(packets), out, BASE)
    assert found.number(3) == 0
    assert (found.number(2), found.number(None), found.number(30)) == (None, None, None)
    assert (found.time_s(0), found.time_s(5)) == (0, 0.5)
    assert [list(found.keys_to(number)) for number in (6, 7, 26)] == [[], [7], [7, 17]]


@pytest.mark.parametrize(
    "packets",
    [
        [*plain(30), *plain(30)],  # two recordings, one behind the other: the clock starts anew
        [*plain(30), (None, False)],
        [*plain(30), (29, False)],
    ],
)
def test_packets_that_do_not_tell_the_order_give_no_timeline(packets):
    assert timeline(sized(packets), [(i, i) for i in range(30)], BASE) is None


def test_pictures_are_counted_on_when_the_clock_starts_anew_or_is_missing():
    numbers, got = Numbers(), []
    for pts, key in [*plain(25), *plain(25), (None, False), (None, False), (7, False)]:
        numbers.packet(pts, key=key)
        got.append(numbers.picture(pts))
    assert got == list(range(53))
    assert numbers.missing == 0


def test_a_packet_after_a_seek_is_known_by_its_time_size_and_kind():
    found = timeline(sized(plain(30)), [(i, i) for i in range(30)], BASE)
    assert found.knows(10, 110, key=True)
    assert found.knows(11, 111, key=False)
    assert found.knows(-1, 5, key=False)  # before the first picture
    for pts, size, key in ((10, 111, True), (10, 110, False), (11, 111, True), (30, 130, True), (None, 110, True)):
        assert not found.knows(pts, size, key=key)
