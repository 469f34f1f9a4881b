"""LVS on classes that are absent from its training data (Localizing Visual Sounds the Hard Way, table 6).

    python -m avlearn.main --config=configs/lvs_open_set.py
    python -m avlearn.main --config=configs/lvs_open_set.py --mode=evaluate \
        --checkpoint=runs/lvs_open_set/checkpoints --workdir=runs/lvs_open_set_unheard \
        --config.evaluation.dataset=vgg_ss/unheard_lvs

The first command trains on the 110 heard classes of VGG-Sound and evaluates on the VGG-SS clips of these classes; the
second evaluates on 110 other classes. The paper reports cIoU .289 and AUC .362 for heard classes, .263 and .347 for
unheard ones. In miniature, after

    tfds build data_builders/synthetic_av --config=miniature_heard --data_dir=data
    tfds build data_builders/synthetic_av --config=miniature_unheard --data_dir=data

run the same commands with :miniature, runs/lvs_open_set-miniature and synthetic_av/miniature_unheard.
"""

from ml_collections import ConfigDict

from configs import lvs


def get_config(variant: str = "") -> ConfigDict:
    """Return the settings of LVS on the clips of heard classes, or `miniature`."""
    config = lvs.get_config(variant)
    config.evaluation.after_training = True
    if variant == "miniature":
        config.data.dataset = "synthetic_av/miniature_heard"
    else:
        config.data.dataset = "vgg_sound/heard_110_lvs"
        config.evaluation.dataset = "vgg_ss/heard_lvs"
    return config
