"""What the checkpoints of these tests say they were trained on."""

from ray_advpose.training.checkpoint import DataIdentity

DATA = DataIdentity("0" * 16, "lspet", "lsp", 72, 32)
