"""Online reinforcement learning on the environment of a surrogate, through stable-baselines3."""
