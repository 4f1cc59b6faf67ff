"""Pose geometry and scoring: skeletons, crops, heatmaps, metrics."""
