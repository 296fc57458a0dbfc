"""How late the ticks of a control loop are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_FINE = 2
_BUCKETS = 64 << _FINE


class Histogram:
    """Counts durations in buckets of fixed width on a logarithmic scale, four to an octave.

    Counting takes less than a microsecond and no memory.  What is read from it is at most a quarter
    too large, the largest value excepted, which is exact.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.largest_ns = 0
        self._counts = [0] * _BUCKETS

    def add(self, duration_ns: int) -> None:
        """Count one duration, ns; a negative one is none."""
        self.largest_ns = max(self.largest_ns, duration_ns)
        duration_ns = max(duration_ns, 1 << _FINE)
        octave = duration_ns.bit_length() - 1 - _FINE
        self._counts[octave << _FINE | duration_ns >> octave & (1 << _FINE) - 1] += 1

    def report(self) -> dict[str, Any]:
        """Count, percentiles and largest value, and the buckets that are not empty; us."""
        return {
            "count": sum(self._counts),
            "p50_us": self._percentile(0.5),
            "p99_us": self._percentile(0.99),
            "max_us": self.largest_ns / 1e3,
            "buckets_us": {f"{upper:g}": count for upper, count in self._filled()},
        }

    def _filled(self) -> Iterable[tuple[float, int]]:
        """Upper edge, us, and count of every bucket that is not empty, in order."""
        for bucket, count in enumerate(self._counts):
            if count:
                octave, part = bucket >> _FINE, bucket & (1 << _FINE) - 1
                yield ((1 << _FINE) + part + 1 << octave) / 1e3, count

    def _percentile(self, share: float) -> float:
        """Upper edge of the bucket below which this share lies, us; 0 when there are none."""
        left = share * sum(self._counts)
        for upper, count in self._filled():
            left -= count
            if left <= 0:
                return min(upper, self.largest_ns / 1e3)
        return 0.0


class Lateness:
    """What a run says of its timing: how late ticks began, and how long observing to acting took.

    A tick that found its period over is as late as it began after its own time, so that nothing
    hides behind the periods that were skipped.
    """

    def __init__(self) -> None:
        """Start with no tick."""
        self.wake = Histogram()
        """Begin of a tick after its time."""
        self.act = Histogram()
        """From a reading of the sensors to the command that answers it."""

    def report(self) -> dict[str, Any] | None:
        """Both histograms; None when time was simulated, since then nothing is ever late."""
        if not self.wake.largest_ns:
            return None
        return {"wake": self.wake.report(), "act": self.act.report()}
