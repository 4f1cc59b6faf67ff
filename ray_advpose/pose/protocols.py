"""The protocols of this field's data sets, by name."""

from __future__ import annotations

PCK_THRESHOLDS = {"mpii": 0.5, "lsp": 0.2, "lspet": 0.2}
"""At which fraction of the normaliser a protocol's one number is taken."""


def score_name(protocol: str) -> str:
    """Return what a protocol's one number is called, e.g. ``PCK@0.2``."""
    return f"{'PCKh' if protocol == 'mpii' else 'PCK'}@{PCK_THRESHOLDS[protocol]:g}"
