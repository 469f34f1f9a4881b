"""LVS, the tri-map network, trained on VGG-Sound (Localizing Visual Sounds the Hard Way, Chen et al., CVPR 2021).

    python -m avlearn.main --config=configs/lvs.py
    python -m avlearn.main --config=configs/lvs.py:miniature

After training on 144,000 clips of VGG-Sound, the paper reports cIoU .719 and AUC .582 on Flickr-SoundNet's test set
(table 3), and .344 and .382 on VGG-SS (table 5), where a centred disc scores .340 and .375. Table 4 ablates the loss:
cIoU on Flickr falls to .667 (--config.loss.regions=complement) and .675 (positives_only).

VGG-Sound has no boxes. To evaluate on VGG-SS after training:

    python -m avlearn.main --config=configs/lvs.py --mode=evaluate --checkpoint=runs/lvs/checkpoints \
        --workdir=runs/lvs_vgg_ss --config.evaluation.dataset=vgg_ss/full_lvs

The paper trains on the complete list: --config.data.train_split=train+validation --config.evaluation.checkpoint=latest.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = "") -> ConfigDict:
    """Return the paper's settings with the released code's loss, or `miniature`."""
    config = without_loss(variant)
    config.model.name = "lvs"
    with config.unlocked():
        config.loss.objective = "released"  # released: the formula in the released code | paper: the printed one
        config.loss.regions = "tri_map"  # tri_map | complement | positives_only: table 4
        config.loss.temperature = 0.07  # temperature of the released objective
    return config


def without_loss(variant: str) -> ConfigDict:
    """Return the data and training settings of LVS, which configs/attention10k.py shares."""
    config = base.get_config(variant)
    config.data.pairing = "contrast"
    # As in the released code, frames are flipped and cropped from 1.1 times the input size, without further changes.
    # The audio is centred on its frame.
    config.data.misalignment_seconds = 0.0
    config.data.brightness = 0.0
    config.data.saturation = 0.0
    config.data.volume = 0.0
    config.evaluation.evaluators = ("avc_accuracy", "ndcg", "pointing", "ciou")
    config.update(miniature() if variant == "miniature" else full_size())
    return config


def full_size() -> dict:
    """Return the paper's size: 3 s of audio in 200 columns, 256 clips in one batch of negatives."""
    # DIFFERS: (LVS 4) tested on the middle 3 s and the training crop, not on all of the audio and the full square.
    return {
        "inputs": {"crop_fraction": 1 / 1.1, "front_end": "lvs", "columns": 200},
        "data": {"dataset": "vgg_sound/train_144k_lvs"},
        "train": {
            # One worker, because the negatives of a clip come from its own worker's batch.
            "num_workers": 1,
            "batch_per_worker": 256,
            "learning_rate": 1e-4,
            "decay_factor": 1.0,
        },
        "evaluation": {"after_training": False},
    }


def miniature() -> dict:
    """Return the same system at a size for two CPU cores."""
    return {"inputs": {"frame_pixels": 112}, "train": {"steps": 1800}}
