"""What recwire costs, beside the limits of the machine.

    python -m benchmarks NAME --json OUT

Read in this order: `__main__` (the command), `suite` (all of them), `smoke`, `start`, `embed_rpc`,
`embed_beside_bulk`, `load`, `encoder` (benchmarks), `measurement` (rounds, medians, spread), `table` (how calls are
shown), `environment` (what every result is stamped with), `served` (a server of one's own to measure).
"""
