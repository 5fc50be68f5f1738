from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.sources.cursor import PROBED_FRAMES, FrameNumbering, build_timeline

BASE = Fraction(1, 10)


@st.composite
def streams(draw):
    """Packets (pts, key) in decoding order with uneven times; each GOP is an I, then each P before its earlier Bs."""
    packets, time = [], draw(st.integers(-50, 50))
    for _ in range(draw(st.integers(1, 12))):
        times = [time := time + draw(st.integers(1, 9)) for _ in range(draw(st.integers(1, 12)))]
        packets.append((times[0], True))
        for at in range(1, len(times), 3):
            group = times[at : at + 3]
            packets += [(group[-1], False), *((pts, False) for pts in group[:-1])]
    return packets


def decode(packets, *, refused=frozenset(), silent=frozenset()):
    """Number the frames; each is complete when no packet with an earlier time follows."""
    numbers, waiting, out = FrameNumbering(), [], []
    for i, (pts, key) in enumerate(packets):
        numbers.add_packet(pts, key=key)
        if pts in refused:
            numbers.add_failure(pts)
        elif pts not in silent:
            waiting.append(pts)
        later = {p for p, _ in packets[i + 1 :]}
        for ready in sorted(p for p in waiting if all(p < later_time for later_time in later)):
            waiting.remove(ready)
            out.append((numbers.number_frame(ready), ready))
    return numbers, out


def sized(packets):
    return [(*packet, 100 + i) for i, packet in enumerate(packets)]


@given(streams(), st.sets(st.integers(0, 200)))
def test_frames_are_numbered_by_the_rank_of_their_time_even_if_some_are_rejected(packets, lost):
    ordered = sorted(pts for pts, _ in packets)
    refused = {ordered[i] for i in lost if 0 < i < len(ordered)}
    numbers, out = decode(packets, refused=refused)
    assert out == [(i, pts) for i, pts in enumerate(ordered) if pts not in refused]
    assert numbers.missing == 0
    timeline = build_timeline(sized(packets), out[:PROBED_FRAMES], BASE)
    assert timeline is not None
    assert timeline.pts.tolist() == ordered
    assert [timeline.number(pts) for _, pts in out] == [number for number, _ in out]


def plain(count, *, every=10):
    return [(i, i % every == 0) for i in range(count)]


def test_a_frame_lost_without_an_error_leaves_a_gap_after_the_probed_frames():
    packets, silent = plain(PROBED_FRAMES + 40), {PROBED_FRAMES + 7, PROBED_FRAMES + 8}
    numbers, out = decode(packets, silent=silent)
    assert all(number == pts for number, pts in out)
    assert numbers.missing == 2
    assert build_timeline(sized(packets), out[:PROBED_FRAMES], BASE) is not None


def test_frames_are_counted_if_some_packets_contain_none():
    packets = plain(PROBED_FRAMES + 40)
    _, out = decode(packets, silent={5, 20, PROBED_FRAMES + 9})
    assert [number for number, _ in out] == list(range(len(packets) - 3))
    assert build_timeline(sized(packets), out[:PROBED_FRAMES], BASE) is None


def test_frames_are_never_counted_with_one_frame_per_packet():
    numbers, got = FrameNumbering(one_per_packet=True), []
    for pts in range(10):
        numbers.add_packet(pts, key=True)
        if pts not in (3, 4):
            got.append(numbers.number_frame(pts))
    assert got == [0, 1, 2, 5, 6, 7, 8, 9]
    assert numbers.missing == 2


def test_packets_before_the_first_decodable_frame_do_not_count():
    packets = plain(30)
    _, out = decode(packets, refused={0, 1, 2})
    assert out[0] == (0, 3)
    timeline = build_timeline(sized(packets), out, BASE)
    assert timeline.number(3) == 0
    assert (timeline.number(2), timeline.number(None), timeline.number(30)) == (None, None, None)
    assert (timeline.time_s(0), timeline.time_s(5)) == (0, 0.5)
    assert [list(timeline.keys_until(number)) for number in (6, 7, 26)] == [[], [7], [7, 17]]


@pytest.mark.parametrize(
    "packets",
    [
        [*plain(30), *plain(30)],  # two joined recordings: the clock restarts
        [*plain(30), (None, False)],
        [*plain(30), (29, False)],
    ],
)
def test_packets_without_a_clear_order_give_no_timeline(packets):
    assert build_timeline(sized(packets), [(i, i) for i in range(30)], BASE) is None


def test_counting_continues_when_the_clock_restarts_or_is_missing():
    numbers, got = FrameNumbering(), []
    for pts, key in [*plain(25), *plain(25), (None, False), (None, False), (7, False)]:
        numbers.add_packet(pts, key=key)
        got.append(numbers.number_frame(pts))
    assert got == list(range(53))
    assert numbers.missing == 0


def test_a_packet_after_a_seek_is_matched_by_time_size_and_keyframe_flag():
    timeline = build_timeline(sized(plain(30)), [(i, i) for i in range(30)], BASE)
    assert timeline.matches(10, 110, key=True)
    assert timeline.matches(11, 111, key=False)
    assert timeline.matches(-1, 5, key=False)  # before the first frame
    for pts, size, key in ((10, 111, True), (10, 110, False), (11, 111, True), (30, 130, True), (None, 110, True)):
        assert not timeline.matches(pts, size, key=key)
