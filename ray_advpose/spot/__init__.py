"""A spot machine's notice that it will be taken away, handed on to Ray as a drain of its node."""
