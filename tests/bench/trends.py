"""What a long series of samples says: medians of its thirds, the slope, and whether it grows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

Sample = tuple[float, Mapping[str, float]]
"""(seconds since the beginning, what was measured then)"""

SHARE: Final = 0.05
FLOORS: Final = {"fds": 4.0, "threads": 4.0, "MiB": 4.0, "keys": 25.0, "files": 25.0}
"""By the last word of a quantity's name: less than this is noise, whatever share of the whole it is."""
CRITERION: Final = (
    "flat: the median of the last third is above that of the first by no more than 5 % or, if that is more, by"
    " 4 descriptors, 4 threads, 4 MiB, 25 keys or 25 files; grows: it is, and above that of the middle by half of it"
)


@dataclass(frozen=True, slots=True)
class Trend:
    name: str
    thirds: tuple[float, float, float]
    per_hour: float
    """Slope of the straight line that fits best."""
    verdict: str
    """"flat", "grows", "rose, and stays", or "" for what is not judged."""


def trend(name: str, samples: Sequence[Sample]) -> Trend:
    """Of one quantity; needs six samples that have it."""
    points = [(at_s, values[name]) for at_s, values in samples if name in values]
    third = len(points) // 3
    parts = (points[:third], points[third:-third], points[-third:])
    first, middle, last = (median(value for _, value in part) for part in parts)
    slope = linear_regression([at_s for at_s, _ in points], [value for _, value in points]).slope
    return Trend(name, (first, middle, last), slope * 3600, _verdict(name, first, middle, last))


def _verdict(name: str, first: float, middle: float, last: float) -> str:
    floor = FLOORS.get(name.rpartition(" ")[2])
    if floor is None:
        return ""
    most = max(SHARE * first, floor)
    if last - first <= most:
        return "flat"
    return "grows" if last - middle > most / 2 else "rose, and stays"


def table(trends: Sequence[Trend]) -> str:
    head = ("", "first third", "middle", "last third", "per hour", "")
    lines = [head, *((t.name, *(f"{v:.1f}" for v in t.thirds), f"{t.per_hour:+.2f}", t.verdict) for t in trends)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
