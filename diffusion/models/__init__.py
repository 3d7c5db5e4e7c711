"""Diffusion models of designs and of trajectories, with their settings."""
