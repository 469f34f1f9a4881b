"""L3-Net on AudioSet-Instruments, as Objects that Sound trains it (section 3.2; stride 2 in conv1_1).

    python -m avlearn.main --config=configs/l3net.py
    python -m avlearn.main --config=configs/l3net.py:miniature
    python -m avlearn.main --config=configs/l3net.py --mode=evaluate --evaluators=ndcg,cca

Objects that Sound reports an AVC accuracy of 80.8 % and nDCG@30 of .567 im-im, .418 im-aud, .385 aud-im, .653 aud-aud
(table 1), and .578 .531 .560 .649 for "L3-Net with CCA", which the last command computes (docs/metrics/cca.md).

Look, Listen and Learn's own settings are --config.model.conv1_stride=1 --config.inputs.columns=199
--config.train.batch_per_worker=16 --config.data.dataset=kinetics_sounds/ks34_nearest (31 of its 34 classes have labels
in Kinetics-400, three use the nearest label). It reports an AVC accuracy of 74 % there, and 78 % on Flickr-SoundNet
(table 1).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "l3net"
    if variant == "miniature":
        config.train.steps = 1500
    return config
