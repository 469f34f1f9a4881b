"""Kinetics-Sounds: how well a network's features match its classes (Look, Listen and Learn, section 3.5, table 4).

    python -m avlearn.main --config=configs/kinetics_sounds.py:l3net --mode=evaluate --checkpoint=runs/l3net/checkpoints
    python -m avlearn.main --config=configs/kinetics_sounds.py:l3net-miniature --mode=evaluate --checkpoint=...

The name after the colon is the config that the checkpoint was trained with; a miniature one uses the synthetic data.
The paper reports an NMI of .409 (vision) and .330 (audio), .204 and .219 with initial weights, and .165 by chance. 10
(vision) and 11 (audio) of the 34 classes have units with a high preference for them, with initial weights one each.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "l3net") -> ConfigDict:
    """Return the config of a network, evaluated on the test split of Kinetics-Sounds."""
    config = base.load_experiment(network)
    config.evaluation.evaluators = ("nmi", "unit_preference")
    if not network.endswith("-miniature"):
        config.data.dataset = "kinetics_sounds/ks34_nearest"
    return config
