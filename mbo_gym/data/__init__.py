"""Data files: what ships, what is fetched or placed by hand, and the cache of fitted things."""
