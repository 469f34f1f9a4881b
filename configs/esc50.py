"""ESC-50, classified from a network's audio features (Look, Listen and Learn, section 3.4, table 2); five folds.

    python -m avlearn.main --config=configs/esc50.py:l3net --mode=evaluate --checkpoint=runs/l3net/checkpoints
    python -m avlearn.main --config=configs/esc50.py:avenet-miniature --mode=evaluate --checkpoint=...

The name after the colon is the config that the checkpoint was trained with. The paper reports an accuracy of 79.3 %,
and 62.5 % for the network with its initial weights.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "l3net") -> ConfigDict:
    """Return the config of a network, evaluated on ESC-50."""
    config = base.load_experiment(network)
    config.evaluation.evaluators = ("sound_classification",)
    config.evaluation.sound_classification.dataset = "esc50/all"
    config.evaluation.sound_classification.windows = 10
    return config
