"""Section 4 of the paper: bins, occlusion cells, reward and penalty."""
