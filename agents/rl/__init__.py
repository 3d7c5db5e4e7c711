"""Offline reinforcement learning on design trajectories."""
