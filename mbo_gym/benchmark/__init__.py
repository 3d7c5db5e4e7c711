"""The benchmark: grids of methods x tasks x seeds, where they run, their statistics and their
report.

`runner.run_grid` runs a grid, `analysis.analyse` makes of its records what `html`, `text` and the
command line show.
"""
