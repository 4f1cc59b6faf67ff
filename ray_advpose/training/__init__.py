"""The three training stages, the loop that runs them, and evaluation; free of Ray."""
