"""Readers of annotated persons, one file a data set."""
