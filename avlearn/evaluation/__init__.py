"""From a checkpoint to metrics: forward passes, arrays, evaluators."""
