"""Events by their definition, from all scores at once: slow, with no state."""

import math


def naive_events(times, scores, rules, threshold, low):  # noqa: PLR0912
    """(start, end, peak) of every event; an event that is open at the end lasts until the last time."""
    n = len(times)

    def has_gap(i):  # between i - 1 and i
        return times[i] - times[i - 1] > rules.max_gap_s

    events, i, quiet, start = [], 0, -math.inf, None
    while i < n:
        event_start = start
        if event_start is None:  # the first run above the threshold that is long enough
            j = i
            while j < n and scores[j] > threshold and (j == i or not has_gap(j)) and times[i] >= quiet:
                if times[j] - times[i] >= rules.min_duration_s:
                    event_start = i
                    break
                j += 1
            if event_start is None:
                i += 1
                continue
        else:
            j = event_start
        start, end, next_start = None, None, None
        last = j  # newest sample of the event
        k = j + 1
        while k < n:
            if end is None and has_gap(k):
                end = times[k - 1]
            if end is not None and times[k] - end > rules.merge_gap_s:
                break
            high = scores[k] > (low if end is None else threshold)
            if high and times[k] - times[event_start] >= rules.max_duration_s:
                next_start = k
                break
            if high:
                end, last = None, k
            elif end is None:
                end = times[k]
            k += 1
        if end is None:
            end = times[next_start] if next_start is not None else times[n - 1]
        inside = [scores[m] for m in range(event_start, last + 1) if not math.isnan(scores[m])]
        events.append((times[event_start], end, max(inside)))
        quiet = end + rules.cool_down_s
        start, i = next_start, (next_start if next_start is not None else k)
    return events
