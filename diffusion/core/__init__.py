"""Diffusion core: schedules, denoisers, networks, losses, samplers, guidance."""
