"""Generative methods for offline model-based optimization on one diffusion core.

The package is empty until its first method lands; methods are registered in the entry-point group `mbo_gym.methods`.
"""
