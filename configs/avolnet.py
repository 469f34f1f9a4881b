"""AVOL-Net on AudioSet-Instruments: finding the object that sounds (Objects that Sound, section 4).

    python -m avlearn.main --config=configs/avolnet.py
    python -m avlearn.main --config=configs/avolnet.py:miniature

The paper reports the AVC accuracy of AVE-Net (81.9 %) and a pointing accuracy of 81.7 % on 500 boxed frames, against
57.2 % for the centre of the frame (4.1). AudioSet has no boxes; on a dataset that has them, such as VGG-SS:

    python -m avlearn.main --config=configs/avolnet.py --mode=evaluate --checkpoint=runs/avolnet/checkpoints
        --workdir=runs/avolnet-vgg_ss --evaluators=pointing,ciou --config.evaluation.dataset=vgg_ss/full
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """The paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "avolnet"
    if variant == "miniature":
        config.evaluation.evaluators = ("avc_accuracy", "ndcg", "pointing", "ciou")
        config.model.kernel_centre_share = 0.5
        config.train.learning_rate = 2e-3
        config.train.warmup_steps = 300
        # On its few cells a network of this size learns peaks that stand some pixels beside the objects. As it is fully
        # convolutional it is evaluated on larger frames, of which these pixels are a smaller part.
        config.evaluation.frame_pixels = 80
        config.train.steps = 2400
    return config
