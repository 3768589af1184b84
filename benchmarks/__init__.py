"""What recwire costs, beside the limits of the machine.

    python -m benchmarks NAME --json OUT

Read in this order: `__main__` (the command), `smoke` and `start` (benchmarks), `measurement` (rounds, medians, spread),
`environment` (what every result is stamped with), `served` (a server of one's own to measure).
"""
