"""What a run keeps: checkpoints, damage, preemption, losses that are not finite."""
