"""Data sets by name: shipped, fetched or placed by hand."""
