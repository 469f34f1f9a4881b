"""The training step, its optimizer and its learning rate."""
