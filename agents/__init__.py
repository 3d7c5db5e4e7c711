"""Methods that search: controls, gradient ascent, evolution, generative models, RL.

`agents.plugin` announces them to mbo_gym; each is loaded on use.
"""
