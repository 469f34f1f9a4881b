"""L3-Net on trunks pretrained with labels, on Kinetics-Sounds (Look, Listen and Learn, section 3.2).

    python -m avlearn.main --config=configs/supervised.py
    python -m avlearn.main --config=configs/supervised_pretraining.py

The first command trains the trunks, the second L3-Net's fusion layers on the frozen features. Append `:miniature` to
both configs for the small size; --config.train.initialise_from names another run. The paper reports an AVC accuracy of
74 % (table 1), the same as L3-Net without labels, and 65 % for direct combination (configs/supervised.py).
"""

from ml_collections import ConfigDict

from configs import base, supervised


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "l3net"
    config.train.initialise_from = "runs/supervised/checkpoints"
    config.train.frozen = ("vision", "audio")
    if variant == "miniature":
        config.train.initialise_from = "runs/supervised-miniature/checkpoints"
        config.train.steps = 500
    else:
        config.update(supervised.full_size())
    return config
