"""Events by their definition, from all scores at once: slow, with no state."""

import math


def naive_events(times, scores, rules, threshold, low):  # noqa: PLR0912
    """(start, end, peak) of every event; what is open at the end lasts until the last time."""
    n = len(times)

    def torn(i):  # nothing is known between i - 1 and i
        return times[i] - times[i - 1] > rules.max_gap_s

    found, i, quiet, start = [], 0, -math.inf, None
    while i < n:
        begin = start
        if begin is None:  # the first run above the threshold that lasts long enough
            j = i
            while j < n and scores[j] > threshold and (j == i or not torn(j)) and times[i] >= quiet:
                if times[j] - times[i] >= rules.min_duration_s:
                    begin = i
                    break
                j += 1
            if begin is None:
                i += 1
                continue
        else:
            j = begin
        start, end, next_start = None, None, None
        last = j  # newest sample of the event
        k = j + 1
        while k < n:
            if end is None and torn(k):
                end = times[k - 1]
            if end is not None and times[k] - end > rules.merge_gap_s:
                break
            high = scores[k] > (low if end is None else threshold)
            if high and times[k] - times[begin] >= rules.max_duration_s:
                next_start = k
                break
            if high:
                end, last = None, k
            elif end is None:
                end = times[k]
            k += 1
        if end is None:
            end = times[next_start] if next_start is not None else times[n - 1]
        inside = [scores[m] for m in range(begin, last + 1) if not math.isnan(scores[m])]
        found.append((times[begin], end, max(inside)))
        quiet = end + rules.cool_down_s
        start, i = next_start, (next_start if next_start is not None else k)
    return found
