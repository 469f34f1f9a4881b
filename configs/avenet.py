"""AVE-Net on AudioSet-Instruments: cross-modal retrieval (Objects that Sound, section 3).

    python -m avlearn.main --config=configs/avenet.py
    python -m avlearn.main --config=configs/avenet.py:miniature

The paper reports an AVC accuracy of 81.9 % and nDCG@30 of .604 im-im, .561 im-aud, .587 aud-im, .665 aud-aud (table 1;
chance .407, a definition that this project's exponential gain comes nearest to, see docs/metrics/ndcg.md).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "avenet"
    if variant == "miniature":
        config.model.fc3_scale = 5.0  # a short run needs logits that distances can move from the start
    return config
