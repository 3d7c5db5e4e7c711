"""Simulators: physics that oracles and learned simulators share; a subject each."""
