"""Planning a benchmark: grids of tasks, methods and seeds."""
