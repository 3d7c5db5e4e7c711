"""Networks: seeded initial weights, the trainer, moving averages, batched MLPs and VAEs."""
