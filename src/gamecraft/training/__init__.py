"""Training: data, objectives, optimizers, run folders, and one trainer per network."""
