"""How much is removed at once, and how long others are let go first."""

from dataclasses import dataclass
from typing import Final

FIRST: Final = 16
MOST: Final = 500


@dataclass(slots=True, kw_only=True)
class Pace:
    """The size of portions, which follows how long they take: a writer keeps all others of SQLite waiting.

    A portion that took more than ``longest`` seconds is followed by one of half its rows, one that took less than a
    quarter of that by one of twice as many. After each there is a rest of ``rests`` times as long as it took.
    """

    longest: float = 0.02
    rests: float = 4.0
    rows: int = FIRST

    def took(self, seconds: float) -> float:
        """Note how long a portion took, and return how long to rest, in seconds."""
        if seconds > self.longest:
            self.rows = max(self.rows // 2, 1)
        elif seconds < self.longest / 4:
            self.rows = min(self.rows * 2, MOST)
        return min(max(self.rests * seconds, 0.001), 1.0)
