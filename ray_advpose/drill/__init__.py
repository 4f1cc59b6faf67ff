"""A training run cut at random, compared with the same run undisturbed."""
