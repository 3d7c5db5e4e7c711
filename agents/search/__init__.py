"""Traditional searches on a surrogate: evolution, policy gradients and Bayesian optimisation."""
