"""AVE+MF on AudioSet-Instruments: AVE-Net on one second of video (Objects that Sound, section 3.1).

    python -m avlearn.main --config=configs/avenet_multiframe.py
    python -m avlearn.main --config=configs/avenet_multiframe.py:miniature

The paper reports an AVC accuracy of 84.7 % (AVE-Net: 81.9).
"""

from ml_collections import ConfigDict

from configs import avenet


def get_config(variant: str = "") -> ConfigDict:
    """Return the settings of AVE-Net with 25 frames, or `miniature`."""
    config = avenet.get_config(variant)
    config.model.name = "avenet_multiframe"
    config.inputs.frames = 25
    if variant == "miniature":
        config.inputs.frames = 5  # one second of the synthetic data
        config.inputs.frame_pixels = 48
        config.train.steps = 1500
    return config
