"""What recwire costs, beside the limits of the machine and what a user would pick instead.

    python -m benchmarks NAME --json OUT

Read in this order: `__main__` (the command), `suite` (all of them), `smoke`, `start`, `embed_cost`,
`embed_beside_bulk`, `encoder`, `recommend`, `update_user`, `freshness` (benchmarks), `measurement` (rounds, medians,
spread), `flight` (many calls at a time), `promise` (ratios that are promised), `table` (how calls are shown),
`environment` (what every result is stamped with), `served` (a server of one's own to measure), `filled_server` (the
same with given vectors), `pinning` (which core works for whom), `made_vectors` (a catalogue's, and users), `rivals`.
"""
