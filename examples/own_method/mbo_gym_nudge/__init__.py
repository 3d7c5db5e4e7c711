"""An example: a method for mbo_gym in a package of its own."""
