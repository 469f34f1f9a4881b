"""Computes metrics from a checkpoint: forward passes, arrays, evaluators."""
