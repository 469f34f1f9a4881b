"""ImageNet, classified by a linear layer on a network's image features (Look, Listen and Learn, section 3.4, table 3).

    python -m avlearn.main --config=configs/imagenet.py:l3net --mode=evaluate --checkpoint=runs/l3net/checkpoints \
        --config.data.data_dir=~/tensorflow_datasets

The name after the colon is the config that the checkpoint was trained with. The paper reports a top-1 accuracy of
32.3 %, and 12.9 % for the network with its initial weights. For another dataset:
--config.evaluation.linear_probe.dataset=cifar10 --config.evaluation.linear_probe.split=test
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "l3net") -> ConfigDict:
    """Return the config of a network, evaluated on ImageNet."""
    config = base.load_experiment(network)
    config.evaluation.evaluators = ("linear_probe",)
    return config
