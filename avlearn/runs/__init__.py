"""The directory of a run: config, checkpoints, damaged files, preemption, losses that are not finite."""
