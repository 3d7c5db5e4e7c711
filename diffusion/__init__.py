"""Generative methods for offline model-based optimization on one diffusion core.

`core` knows nothing of the methods, `models` are trained denoisers of designs and of trajectories,
and `ddom`, `demo`, `dgid` and `gtg` are the methods. `diffusion.plugin` announces them to mbo_gym.
"""
