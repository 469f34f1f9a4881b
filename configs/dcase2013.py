"""DCASE 2013 scenes, classified from a network's audio features (Look, Listen and Learn, section 3.4, table 2).

    python -m avlearn.main --config=configs/dcase2013.py:l3net --mode=evaluate --checkpoint=runs/l3net/checkpoints

The name after the colon is the config that the checkpoint was trained with. The paper reports an accuracy of 93 %, and
85 % for the network with its initial weights.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "l3net") -> ConfigDict:
    """Return the config of a network, evaluated on the test set of DCASE 2013."""
    config = base.load_experiment(network)
    config.evaluation.evaluators = ("sound_classification",)
    config.evaluation.sound_classification.dataset = "dcase2013/scenes"
    config.evaluation.sound_classification.windows = 60
    config.evaluation.sound_classification.test_splits = ("test",)
    return config
