"""VGG16's ImageNet features on AudioSet-Instruments: retrieval within images (Objects that Sound, table 1).

    avlearn import --network=vgg16 --from=vgg16-397923af.pth --to=runs/vgg16
    python -m avlearn.main --config=configs/vgg16.py --mode=evaluate --workdir=runs/vgg16

The paper reports nDCG@30 of .600 im-im. The network is not trained here. It has no audio stream, so image-to-image
retrieval is its only metric.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the published network on the paper's data, or `miniature`: a narrow one on synthetic data."""
    config = base.get_config(variant)
    config.model.name = "vgg16"
    config.evaluation.evaluators = ("ndcg",)
    return config
