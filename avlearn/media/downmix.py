"""Mixes the channels of a sound to one."""

import numpy as np
from jaxtyping import Float32

LOW_FREQUENCY = ("LFE", "LFE2")
AMBISONIC_W = "AMBI0"  # libav's name of the channel that is the sound from all directions
CANCELLED_POWER = 0.01  # channels cancel if their average has less than this share of the loudest one's power: -20 dB


def channel_names(layout) -> tuple[str, ...]:
    """Return libav's names of the channels of a layout; they mean nothing if the file does not state the layout."""
    return tuple(channel.name for channel in layout.channels)


def to_mono(
    channels: Float32[np.ndarray, "channels samples"], names: tuple[str, ...]
) -> Float32[np.ndarray, " samples"]:
    """Return the average of the channels, apart from those for low frequencies.

    Of ambisonic sound, return its channel W. If the channels cancel, as in stereo whose right channel is the negative
    of its left one, return the loudest channel, the first of several.

    Args:
      channels: samples of each channel.
      names: libav's names of the channels.
    """
    if AMBISONIC_W in names:
        return channels[names.index(AMBISONIC_W)]
    heard = [channel for channel, name in zip(channels, names, strict=True) if name not in LOW_FREQUENCY] or channels
    average = np.mean(heard, axis=0, dtype=np.float32)
    powers = [_power(channel) for channel in channels]
    return channels[np.argmax(powers)] if _power(average) < CANCELLED_POWER * max(powers) else average


def _power(waveform):
    return float(np.vdot(waveform, waveform))
