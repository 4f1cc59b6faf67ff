"""The figures of the paper's Table 1: PCKh@0.5 on MPII validation."""

from __future__ import annotations

from collections.abc import Mapping

PAPER_TABLE_1: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "residual": {
        "random": (97.2, 94.8, 87.8, 83.4, 87.8, 81.3, 76.5, 87.0),
        "asr": (97.3, 95.2, 88.2, 84.2, 88.2, 81.8, 77.3, 87.5),
        "aho": (97.3, 95.0, 88.2, 83.6, 88.0, 82.2, 77.6, 87.4),
        "asr+aho": (97.3, 95.1, 88.7, 84.7, 88.4, 82.5, 78.1, 87.8),
    },
    "dense": {
        "random": (97.1, 94.6, 87.9, 83.0, 87.5, 81.2, 76.6, 86.8),
        "asr": (97.2, 95.0, 88.3, 83.5, 87.7, 81.8, 77.4, 87.3),
        "aho": (97.1, 94.8, 88.2, 83.6, 87.6, 81.7, 77.5, 87.2),
        "asr+aho": (97.2, 95.2, 88.8, 84.1, 88.1, 82.0, 77.9, 87.6),
    },
}
"""By block and arm: head, shoulder, elbow, wrist, hip, knee, ankle, mean."""
