"""Supervised direct combination on Kinetics-Sounds (Look, Listen and Learn, section 3.2).

    python -m avlearn.main --config=configs/supervised.py
    python -m avlearn.main --config=configs/supervised.py:miniature

L3-Net's two streams are trained to classify frames and audio. A pair corresponds if the scalar product of the two
softmax outputs is above a threshold, which is chosen on the validation split. The paper reports an AVC accuracy of 65 %
(table 1), against 74 % for L3-Net: configs/l3net.py with the data, stride, columns and batch used here.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "supervised"
    config.data.pairing = "labelled"
    config.evaluation.avc_accuracy.threshold = "validation"
    if variant == "miniature":
        config.inputs.classes = 16
        config.train.steps = 1500
    else:
        config.update(full_size())
        config.inputs.classes = 34
    return config


def full_size() -> dict:
    """Return the paper's size; three of the 34 classes use their nearest label in Kinetics-400."""
    return {
        "model": {"conv1_stride": 1},
        "inputs": {"columns": 199},
        "data": {"dataset": "kinetics_sounds/ks34_nearest"},
        "train": {"num_workers": 16, "batch_per_worker": 16, "learning_rate": 1e-4},
    }
