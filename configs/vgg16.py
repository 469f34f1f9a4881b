"""VGG16's ImageNet features on AudioSet-Instruments: retrieval within images (Objects that Sound, table 1).

    avlearn import --network=vgg16 --from=vgg16-397923af.pth --to=runs/vgg16
    python -m avlearn.main --config=configs/vgg16.py --mode=evaluate --workdir=runs/vgg16

The paper reports nDCG@30 of .600 im-im. The network is not trained here, and it does not hear: its only figure is
that of images among images.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The published network on the paper's data, or `miniature`: a narrow one on the synthetic world."""
    config = base.get_config(variant)
    config.model.name = "vgg16"
    config.evaluation.evaluators = ("ndcg",)
    return config
