"""The diffusion core: schedules, denoisers, networks, losses, samplers and guidance."""
