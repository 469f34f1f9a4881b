"""The multisensory network on AudioSet-Instruments (Owens and Efros, ECCV 2018), as All that Sound's second baseline.

    python -m avlearn.main --config=configs/multisensory.py
    python -m avlearn.main --config=configs/multisensory.py:miniature

It learns to tell the audio of a moment from that of another moment of the same clip, 2.0 to 5.8 s away; in miniature,
from the audio of other clips. All that Sound reports an AVC accuracy of 59.9 % on its 50 classes of
AudioSet-Instruments.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the released settings, except those of the optimizer, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "multisensory"
    config.data.misalignment_seconds = 0.0
    config.data.brightness = 0.0
    config.data.saturation = 0.0
    config.data.volume = 0.0
    config.evaluation.evaluators = ("shift_accuracy", "avc_accuracy")
    config.update(miniature() if variant == "miniature" else full_size())
    return config


def full_size() -> dict:
    """Return the paper's size: 4.2 s of video and audio. It has 15 pairs per GPU; here 16, since half are shifted."""
    # DIFFERS: (Owens and Efros 3) trained with Adam, not with momentum.
    return {
        "inputs": {"frames": 105, "waveform_samples": 88_200, "waveform_hz": 21_000},
        "data": {"dataset": "audioset/instruments_waveform", "pairing": "shifted"},
        "train": {"num_workers": 4, "batch_per_worker": 16},
        "evaluation": {"batch": 16},
    }


def miniature() -> dict:
    """Return .6 s of video and audio, with negatives from other clips: telling moments apart takes too long to learn.

    Every pair is fused separately, so the cost of a step grows with its pairs: at the same cost, four workers with
    8 x 8 pairs each use twice as many clips as one worker with 16 x 16.
    """
    return {
        "inputs": {"frames": 15, "frame_pixels": 32, "waveform_samples": 4800, "waveform_hz": 8000},
        "data": {"dataset": "synthetic_av/in_time", "shift_seconds": (1.0, 3.0)},
        "train": {"steps": 3000, "num_workers": 4, "batch_per_worker": 8, "warmup_steps": 100},
    }
