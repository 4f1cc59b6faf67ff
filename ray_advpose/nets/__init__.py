"""Pose networks and augmentation networks, and the bridge between them."""
