"""AVE+OF on AudioSet-Instruments: AVE-Net with optical flow added to the frame (Objects that Sound, section 3.1).

    python -m avlearn.main --config=configs/avenet_flow.py
    python -m avlearn.main --config=configs/avenet_flow.py:miniature

The paper reports an AVC accuracy of 84.9 % (AVE-Net: 81.9) and nDCG@30 of .608 im-im, .558 im-aud, .588 aud-im, .665
aud-aud (table 1). The dataset stores the flow: TV-L1 between consecutive frames, at 25 frames per second.
"""

from ml_collections import ConfigDict

from configs import avenet


def get_config(variant: str = "") -> ConfigDict:
    """Return the settings of AVE-Net with ten fields of flow, or `miniature`."""
    config = avenet.get_config(variant)
    config.model.name = "avenet_flow"
    config.inputs.flow_fields = 10
    config.data.dataset = "audioset/instruments_flow"
    if variant == "miniature":
        config.inputs.flow_fields = 5  # one second at five frames per second
        config.inputs.frame_pixels = 56
        config.data.dataset = "synthetic_av/flow"
        config.train.steps = 1800
    return config
