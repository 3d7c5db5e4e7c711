"""The names that this package adds to mbo_gym; imports nothing heavy."""

METHODS = {"nudge": "mbo_gym_nudge.nudge:Nudge"}
