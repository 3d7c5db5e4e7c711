"""Online reinforcement learning on the surrogate's environment, through stable-baselines3."""
