"""Holds out training videos for validation, in datasets that have no validation set."""

import hashlib

VALIDATION_PERCENT = 10


def hash_percent(video_id: str) -> int:
    """Return which of a hundred equal parts a video belongs to, 0 to 99, by a hash that is the same in every build."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8]) % 100


def is_validation(video_id: str) -> bool:
    """Return whether a training video is held out for validation; one in ten is."""
    return hash_percent(video_id) < VALIDATION_PERCENT
