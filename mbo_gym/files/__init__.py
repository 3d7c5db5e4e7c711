"""Files: atomic writes, the cache, weights, tables of designs and files of proposals."""
