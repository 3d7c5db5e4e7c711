"""Generative methods for offline model-based optimization on one diffusion core.

The core, each part a file that knows nothing of the methods: `schedule` (noise over time),
`denoiser` (a network made into an estimate of the clean designs), `losses`, `samplers`, `guidance`,
`networks`, `training`. The methods: `ddom`, `demo`, `gtg`; what they share is in `config`,
`design_model` and `proposals`.
"""
