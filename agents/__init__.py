"""Methods that search: controls, gradient ascent, offline reinforcement learning.

Each is found by its name in the entry-point group `mbo_gym.methods` and loaded on use.
"""
