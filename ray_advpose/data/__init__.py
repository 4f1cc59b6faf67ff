"""From annotated pictures to batches: sources, shards, sample order, the Ray Data stream."""
