"""AVOL-Net on AudioSet-Instruments: locating the object that sounds (Objects that Sound, section 4).

    python -m avlearn.main --config=configs/avolnet.py
    python -m avlearn.main --config=configs/avolnet.py:miniature

The paper reports the AVC accuracy of AVE-Net (81.9 %) and a pointing accuracy of 81.7 % on 500 boxed frames, against
57.2 % for the centre of the frame (4.1). AudioSet has no boxes; on a dataset that has them, such as VGG-SS:

    python -m avlearn.main --config=configs/avolnet.py --mode=evaluate --checkpoint=runs/avolnet/checkpoints \
        --workdir=runs/avolnet-vgg_ss --evaluators=pointing,ciou --config.evaluation.dataset=vgg_ss/full
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings, or `miniature`."""
    config = base.get_config(variant)
    config.model.name = "avolnet"
    with config.unlocked():
        config.model.conv7_scale = 1.0  # initial factor of conv7 on the scalar product
        config.model.conv7_bias = -1.0  # initial bias of conv7
        config.model.conv5_activation = "relu"  # relu | none, for weights that were trained without a ReLU
    if variant == "miniature":
        config.evaluation.evaluators = ("avc_accuracy", "ndcg", "pointing", "ciou")
        config.model.kernel_centre_share = 0.5
        config.train.learning_rate = 2e-3
        config.train.warmup_steps = 300
        # The map of so small a network has few cells, so its peaks are some pixels off the objects. The network is
        # fully convolutional, so it is evaluated on larger frames, where these pixels matter less.
        config.evaluation.frame_pixels = 80
        config.train.steps = 2400
    return config
