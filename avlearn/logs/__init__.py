"""Where a run writes its metrics: metrics.jsonl, TensorBoard, Weights & Biases."""
