"""The benchmark: published numbers here; grids, statistics and reports build on them."""
