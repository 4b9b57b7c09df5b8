"""How long tasks took, as a small decaying histogram, and the smooth curve that it suggests. Pure.

Bins are spaced evenly in the logarithm, eight to a doubling, so that one size serves seconds and hours: 96 weights
of four bytes each, whatever was seen. Two histograms merge by adding their weights.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

BINS = 96
SHORTEST = 1.0  # seconds: the lower edge of the first bin; what is shorter counts there
PER_DOUBLING = 8  # the last bin ends at 4096 s, and takes what is longer
_WIDTH = math.log(2) / PER_DOUBLING
_PACKED = struct.Struct(f"<{BINS}f")

# Images take about 8 to 45 s (wire.md §4): taken as the fifth and the 95th of a hundred, worth two tasks.
_PRIOR_CENTRE = math.log(math.sqrt(8 * 45))
_PRIOR_SPREAD = math.log(45 / 8) / 2 / 1.645
_PRIOR_TASKS = 2.0
# A fifth of a task may take anything: what was never seen stays possible, and the tail has an end far away.
_ODD_SPREAD = 1.2
_ODD_TASKS = 0.2
_BANDWIDTHS = (0.04, 0.06, 0.09, 0.13, 0.2, 0.3)  # of a kernel, in the logarithm: a mixture wants narrow ones

Curve = Callable[[float], float]
NOTHING = _PACKED.pack(*([0.0] * BINS))


def bin_of(seconds: float) -> int:
    """The bin that a duration falls into."""
    if seconds <= SHORTEST:
        return 0
    return min(BINS - 1, int(math.log(seconds / SHORTEST) / _WIDTH))


def merged(*histograms: bytes) -> bytes:
    """What all of them saw."""
    return _PACKED.pack(*(sum(each) for each in zip(*map(_PACKED.unpack, histograms), strict=True)))


def weight_of(histogram: bytes) -> float:
    """How many tasks it remembers, old ones in part."""
    return math.fsum(_PACKED.unpack(histogram))


def folded(histogram: bytes, seen: Iterable[tuple[int, int]], *, memory: float) -> bytes:
    """The histogram with tasks added, each known to lie in its first to its last bin; the old ones fade.

    A task that is known by bounds alone is spread between them as the curve so far has it.
    """
    tasks = list(seen)
    fading = (1 - 1 / memory) ** len(tasks)
    weights = [weight * fading for weight in _PACKED.unpack(histogram)]
    shares = _shares(histogram) if any(first != last for first, last in tasks) else ()
    for first, last in tasks:
        if first == last:
            weights[first] += 1
            continue
        within = shares[first : last + 1]
        total = math.fsum(within)
        for place, share in enumerate(within, start=first):
            weights[place] += share / total
    return _PACKED.pack(*weights)


@lru_cache(maxsize=64)
def curve_of(histogram: bytes) -> Curve:
    """The share of tasks that end within so many seconds: kernels over the histogram, and a little of the prior.

    The kernels are drawn together so that they widen nothing: what is log-normal stays as narrow as it is.
    """
    seen = {place: weight for place, weight in enumerate(_PACKED.unpack(histogram)) if weight > 0}
    parts = [(_PRIOR_TASKS, _PRIOR_CENTRE, _PRIOR_SPREAD)]
    total = math.fsum(seen.values())
    centre = _PRIOR_CENTRE
    if total > 0:
        centre = math.fsum(weight * _middle(place) for place, weight in seen.items()) / total
        spread = math.sqrt(math.fsum(w * (_middle(place) - centre) ** 2 for place, w in seen.items()) / total)
        width = _bandwidth(seen, total)
        drawn = spread / math.hypot(spread, width)
        parts += [(weight, centre + (_middle(place) - centre) * drawn, width) for place, weight in seen.items()]
    parts.append((_ODD_TASKS, centre + _ODD_SPREAD / 2, _ODD_SPREAD))
    scale = 0.5 / math.fsum(weight for weight, _, _ in parts)
    kernels = [(weight * scale, middle, 1 / (width * math.sqrt(2))) for weight, middle, width in parts]

    def share_within(seconds: float) -> float:
        if seconds <= 0:
            return 0.0
        log, erfc = math.log(seconds), math.erfc
        return sum([weight * erfc((middle - log) * narrow) for weight, middle, narrow in kernels])

    return share_within


def share_within(histogram: bytes, seconds: float) -> float:
    """As `curve_of`, drawn straight from bin to bin: for those who ask about hundreds of tasks at once."""
    edges = _edges(histogram)
    if seconds <= SHORTEST:
        return edges[0] * max(0.0, seconds) / SHORTEST
    place = math.log(seconds / SHORTEST) / _WIDTH
    low = int(place)
    return edges[-1] if low >= BINS else edges[low] + (edges[low + 1] - edges[low]) * (place - low)


def quantile(curve: Curve, share: float) -> float:
    """Within how many seconds this share of tasks ends, to a hundredth."""
    low, high = 1e-3, 1e6
    while high > low * 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if curve(middle) < share else (low, middle)
    return high


def _middle(place: int) -> float:
    return math.log(SHORTEST) + (place + 0.5) * _WIDTH


@lru_cache(maxsize=64)  # a class and all coarser ones fold alike, as long as there is but one
def _edges(histogram: bytes) -> Sequence[float]:
    """The curve at the lower edge of each bin, and at the upper one of the last."""
    curve = curve_of(histogram)
    return [curve(SHORTEST * 2 ** (place / PER_DOUBLING)) for place in range(BINS + 1)]


def _shares(histogram: bytes) -> Sequence[float]:
    """Of each bin by the curve; never nothing, so that any two bounds can be spread between."""
    return [max(upper - lower, 1e-9) for lower, upper in pairwise(_edges(histogram))]


def _bandwidth(seen: Mapping[int, float], total: float) -> float:
    """The kernel under which each task is likeliest, judged by all the others."""
    return max(_BANDWIDTHS, key=lambda width: _likelihood(seen, total, width))


def _likelihood(seen: Mapping[int, float], total: float, width: float) -> float:
    reach = [math.exp(-0.5 * (distance * _WIDTH / width) ** 2) / width for distance in range(BINS)]
    likelihood = 0.0
    for place, weight in seen.items():
        others = sum([each * reach[abs(place - other)] for other, each in seen.items()]) - min(1.0, weight) * reach[0]
        likelihood += weight * math.log(others / total + 1e-4)
    return likelihood
