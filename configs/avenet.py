"""AVE-Net on AudioSet-Instruments: cross-modal retrieval (Objects that Sound, section 3).

    python -m avlearn.main --config=configs/avenet.py
    python -m avlearn.main --config=configs/avenet.py:miniature

The paper reports an AVC accuracy of 81.9 % and nDCG@30 of .604 im-im, .561 im-aud, .587 aud-im, .665 aud-aud (table 1,
chance .407; docs/metrics/ndcg.md compares definitions).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "avenet"
    with config.unlocked():
        config.model.fc3_scale = 0.7  # initial fc3: logits -+ scale * (distance - threshold)
        config.model.fc3_threshold = 1.2  # distance (0 to 2) at which the initial fc3 is undecided
    if variant == "miniature":
        config.model.fc3_scale = 5.0  # a short run needs logits that depend on the distance from the start
    return config
