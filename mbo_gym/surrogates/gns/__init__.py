"""A graph network simulator of water and tools, its training scenes and the surrogate it makes."""
