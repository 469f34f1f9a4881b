"""Writes the metrics of a run: metrics.jsonl, TensorBoard, Weights & Biases, the terminal."""
