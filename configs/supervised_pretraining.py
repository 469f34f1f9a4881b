"""L3-Net on trunks that were trained on labels, on Kinetics-Sounds (Look, Listen and Learn, section 3.2).

    python -m avlearn.main --config=configs/supervised.py
    python -m avlearn.main --config=configs/supervised_pretraining.py

and with `:miniature` after both files. The first trains the trunks (--config.train.initialise_from names another run),
the second L3-Net's fusion layers on their frozen features. The paper reports an AVC accuracy of 74 % (table 1), as much
as L3-Net has without any label, and 65 % for direct combination (configs/supervised.py).
"""

from ml_collections import ConfigDict

from configs import base, supervised


def get_config(variant: str = "") -> ConfigDict:
    """The paper's settings, or `miniature`."""
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
