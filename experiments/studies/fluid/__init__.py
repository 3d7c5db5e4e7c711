"""Parts of the study of DGID on the fluid tasks: searches, samples, other priors, and outcomes."""
