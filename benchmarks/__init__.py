"""What recwire costs, beside the limits of the machine and what a user would pick instead.

    python -m benchmarks list
    python -m benchmarks NAME... --json OUT
    python -m benchmarks report DIR

Read in this order: `__main__` (the commands), `suite` (all benchmarks by name), `smoke`, `start`, `embed_cost`,
`embed_beside_bulk`, `encoder` and the others (benchmarks), `measurement` (rounds, medians, spread), `table` (how calls
are shown), `environment` (what every result is stamped with), `served` (a server of one's own to measure). Of what was
measured: `result_file` (how it is kept), `report` and `markdown` (a page of it), `figure` and `figure_page` (figures in
the documentation, which are links to it).
"""
