"""The directory of a run: its config and checkpoints, damage, preemption, losses that are not finite."""
