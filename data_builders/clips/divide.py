"""Keeps training videos for validation, in datasets whose authors kept none."""

import hashlib

VALIDATION_PERCENT = 10


def hundredth(video_id: str) -> int:
    """Which of a hundred equal parts of all videos one is in, 0 to 99, by a hash that no build changes."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8]) % 100


def is_validation(video_id: str) -> bool:
    """Whether a training video is kept for validation: one of ten."""
    return hundredth(video_id) < VALIDATION_PERCENT
