"""Populations of joint-training trials on Ray Tune."""
