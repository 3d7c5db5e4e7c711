"""Water and rigid tools in two dimensions: scenes, two engines, scores and drawings."""
