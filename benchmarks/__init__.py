"""What recwire costs, beside the limits of the machine and what a user would pick instead.

    python -m benchmarks list
    python -m benchmarks NAME... --json OUT
    python -m benchmarks report DIR

Read in this order: `__main__` (the commands), `suite` (all benchmarks by name, each a module or package of that name),
`measurement` (rounds, medians, spread), `flight` (many calls at a time), `promise` (ratios that are promised), `table`
(how calls are shown), `environment` (what every result is stamped with).

What is measured: `served` (a server of one's own), `filled_server` (the same with given vectors), `catalogue_vectors`
and `made_vectors` (a catalogue's, and users), `rivals`, `infinity`; `cuda` (whether a GPU can be had).

Of what was measured: `result_file` (how it is kept), `report` and `markdown` (a page of it), `figure` and `figure_page`
(figures in the documentation, which are links to it).
"""
