"""VGG16's image features and L3-Net's audio features, aligned by CCA (Objects that Sound, section 3.2, table 1).

    avlearn import --network=vgg16 --from=vgg16-397923af.pth --to=runs/vgg16
    python -m avlearn.main --config=configs/l3net.py --workdir=runs/l3net
    python -m avlearn.main --config=configs/vgg16_l3net.py --mode=evaluate --checkpoint=runs/vgg16/checkpoints

The paper reports nDCG@30 of .493 im-im, .458 im-aud, .464 aud-im and .618 aud-aud. --config.evaluation.sounds_from=RUN
takes the audio features of another run's network.
"""

from ml_collections import ConfigDict

from configs import vgg16


def get_config(variant: str = "") -> ConfigDict:
    """Return VGG16's config with the audio features of runs/l3net, or `miniature` with those of the miniature run."""
    config = vgg16.get_config(variant)
    config.evaluation.evaluators = ("cca",)
    config.evaluation.sounds_from = "runs/l3net-miniature" if variant == "miniature" else "runs/l3net"
    return config
