"""recommend: Recommend for stored users, beside what a user would pick instead, and beside the limit.

Users have 50 events on items of five topics, and are given the ten nearest items that they have not seen, one call at
a time, in rounds in which the contenders take turns; each server has one core, the client another. recwire is given the
user's id. The others are given the user's vector, and the seen items, ready: they keep neither. Each has the least
effort with which it finds .95 of the true ten of these very queries; hnswlib, and Redis once more, the least with which
it finds what recwire finds.

Read in this order: `comparison` (the benchmark), `contender` (recwire and its rivals, ready to be timed), `report` (how
a result is shown).
"""

from benchmarks.recommend.comparison import run
from benchmarks.recommend.report import plot, table

__all__ = ["plot", "run", "table"]
