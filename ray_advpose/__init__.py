"""Joint optimisation of data augmentation and pose-network training, on Ray."""

__version__ = "0.1.0"
