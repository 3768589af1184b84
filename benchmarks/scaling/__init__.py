"""scaling: Recommend by the size of the catalogue, by clients, and with UpdateUser by the length of the history.

All in one run, each part's contenders in turn; the servers share a core, and the client has another.

- sizes: stored users of 21 events, at up to 1,000,000 items; recall@10 of the same users, seen items let in
- clients: so many calls in flight all the time, on one server
- history: users with up to 10,000 events, on the same server

Items are texts through the encoder, and beyond some thousand these with jitter: `catalogue_vectors`. Read in this
order: `comparison` (the benchmark), `scaled` (servers with items and users),
`history` (users), `chart` (how a result is shown).
"""

from benchmarks.scaling.chart import plot, table
from benchmarks.scaling.comparison import run

__all__ = ["plot", "run", "table"]
