"""What a network's features know of the classes of Kinetics-Sounds (Look, Listen and Learn, section 3.5, table 4).

    python -m avlearn.main --config=configs/kinetics_sounds.py:l3net --mode=evaluate --checkpoint=runs/l3net/checkpoints
    python -m avlearn.main --config=configs/kinetics_sounds.py:l3net-miniature --mode=evaluate --checkpoint=...

What follows the colon is the config that the checkpoint was trained with; with a miniature one the embedded world
stands for the dataset. The paper reports an NMI of .409 (vision) and .330 (audio), .204 and .219 with initial weights,
.165 by chance; and units of high preference for 10 and 11 of its 34 classes, for 1 and 1 with initial weights.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "l3net") -> ConfigDict:
    """The settings of a network's config, evaluated on the test split of Kinetics-Sounds."""
    config = base.of_network(network)
    config.evaluation.evaluators = ("nmi", "unit_preference")
    if not network.endswith("-miniature"):
        config.data.dataset = "kinetics_sounds/ks34_nearest"
    return config
