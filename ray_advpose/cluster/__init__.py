"""Training on a Ray cluster: worker function, trainer, checkpoint storage."""
