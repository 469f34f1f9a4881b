"""Every key a config can have, with its unit and the papers' setting. The experiments' files state differences only.

Override on the command line: `--config.train.learning_rate=5e-5`. A key that is not declared here is refused.
"""

import importlib
import pathlib

from ml_collections import ConfigDict

VARIANTS = ("", "miniature")


def get_config(variant: str = "") -> ConfigDict:
    """Settings common to the experiments; locked against new keys.

    Args:
      variant: what follows the colon in `--config=configs/avenet.py:miniature`; empty for the papers' settings,
        `miniature` for the same system on the synthetic world at a size for two CPU cores.

    Raises:
      ValueError: unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"variant {variant!r} is unknown; --config=FILE.py holds the papers' settings, --config=FILE.py:miniature "
            f"the same system at a size for two CPU cores."
        )
    config = papers()
    if variant == "miniature":
        config.update(miniature())
    return config


def of_network(name: str) -> ConfigDict:
    """Config of another experiment, for those that evaluate any network.

    Args:
      name: of its file, and its variant after a hyphen: `l3net`, `l3net-miniature`.

    Raises:
      ValueError: there is no such file, or no such variant.
    """
    file, _, variant = name.partition("-")
    if not (pathlib.Path(__file__).parent / f"{file}.py").is_file():
        raise ValueError(f"{name!r} is no config; put the name of a file of configs after the colon: l3net-miniature.")
    return importlib.import_module(f"configs.{file}").get_config(variant)


def miniature() -> dict:
    """What every miniature experiment changes."""
    return {
        "model": {"width": 0.25},
        "inputs": {"frame_pixels": 64, "pool": 4},
        "data": {"dataset": "synthetic_av/miniature", "pairing": "all_pairs"},
        "evaluation": {
            "out_of_sight": "negatives",  # the embedded world has a box for all that is seen
            # Its objects are small: with half of the picture predicted, no map could reach a cIoU above .08.
            "ciou_protocol": "adaptive",
        },
        "train": {
            "num_workers": 1,
            "batch_per_worker": 32,
            "steps": 2200,
            "learning_rate": 1e-3,
            "schedule": "warmup_cosine",
            "warmup_steps": 200,
            "log_every_steps": 50,
            "checkpoint_every_steps": 500,
        },
    }


def papers() -> ConfigDict:
    """Every key, with the papers' settings as far as they agree."""
    config = ConfigDict()
    config.seed = 0  # of the weights, the order of the clips and every draw

    config.model = ConfigDict()
    config.model.name = "avenet"  # a file of avlearn/models
    config.model.width = 1.0  # factor on the papers' channels (64, 128, 256, 512)
    config.model.conv1_stride = 2  # 2: Objects that Sound; 1: Look, Listen and Learn
    config.model.conv1_padding = "after"  # at stride 2: after, the sizes that OtS prints | both, as PyTorch's padding=1
    config.model.frame_scaling = "symmetric"  # symmetric: -1 to 1 | imagenet: torchvision's mean and deviation
    config.model.batch_norm_momentum = 0.9  # running = momentum * running + (1 - momentum) * batch
    config.model.kernel_centre_share = 1 / 9  # of a 3 x 3 kernel's initial variance; 1/9: He normal, all cells alike
    config.model.dtype = "float32"  # of the computation: float32 | bfloat16; parameters are always float32
    config.model.fc3_scale = 0.7  # AVE-Net: start of fc3, logits -+ scale * (distance - threshold)
    config.model.fc3_threshold = 1.2  # AVE-Net: distance (0 to 2) at which fc3 starts undecided
    config.model.conv7_scale = 1.0  # AVOL-Net: start of conv7's factor on the scalar product
    config.model.conv7_bias = -1.0  # AVOL-Net: start of conv7's bias
    config.model.conv5_activation = "relu"  # AVOL-Net: relu | none, for weights that were trained without it
    config.model.attention_temperature = 1.0  # Attention10k: of the softmax over cells

    config.loss = ConfigDict()  # of the networks that train by `contrast`; each takes those of its own
    config.loss.objective = "released"  # LVS: released | paper, the released code's or the printed formula
    config.loss.regions = "tri_map"  # LVS: tri_map | complement | positives_only, its table 4
    config.loss.temperature = 0.07  # LVS: of the released objective

    config.inputs = ConfigDict()  # avlearn.types.InputSpec
    config.inputs.frame_pixels = 224
    config.inputs.crop_fraction = 224 / 256
    config.inputs.front_end = "l3"
    config.inputs.columns = 200
    config.inputs.bins = 257
    config.inputs.pool = 1
    config.inputs.frames = 1  # AVE+MF: 25, a second
    config.inputs.flow_fields = 0  # AVE+OF: 10
    config.inputs.waveform_samples = 0  # multisensory network: 4.2 s
    config.inputs.waveform_hz = 0
    config.inputs.classes = 0  # of data.dataset, for a network that is trained on labels; 0: it gets none

    config.data = ConfigDict()
    config.data.dataset = "audioset/instruments"  # builder/config
    config.data.data_dir = "data"  # where `tfds build --data_dir` wrote it
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    # avc: half positives, half negatives | all_pairs: every pair of a worker's batch | contrast: each clip against all
    # others of the batch, for the networks whose loss does that | labelled: each clip with its classes, for those that
    # are trained to classify | shifted: each moment with its own sound, and with that of another moment of its clip
    # (multisensory)
    config.data.pairing = "avc"
    config.data.negatives = "on_grid"  # on_grid: sound at frame times (OtS 3.3) | off_grid: the unprotected draw
    config.data.misalignment_seconds = 1.0  # sound up to this far from the frame, positives and negatives alike
    config.data.shift_seconds = (2.0, 5.8)  # pairing `shifted`: least and greatest distance of the two moments
    config.data.spectrogram_scaling = "ln_12"  # a name in avlearn/data/augment.py
    config.data.flip = True  # left-right, half of the frames
    config.data.brightness = 0.2  # added, uniform within +- this share of the full range
    config.data.saturation = 0.2  # factor, uniform in 1 +- this
    config.data.volume = 0.1  # factor on the amplitude, uniform in 1 +- this, one for the whole second
    config.data.samples_per_clip = 1  # pairs drawn from one read, in as many consecutive batches
    config.data.threads = 0  # of the input pipeline; 0: as many as there are cores

    config.train = ConfigDict()
    config.train.num_workers = 16  # unit of the algorithm, not of the machine
    config.train.batch_per_worker = 128  # pairs; a device takes its workers in turn, so this decides its memory
    # Recomputed in the backward pass to save memory. nothing | all_but_convolutions: normalisations, ReLUs, poolings
    config.train.rematerialise = "nothing"
    config.train.steps = 100_000
    config.train.learning_rate = 1e-4  # of the first step, or at the end of the warm-up
    config.train.schedule = "staircase"  # staircase | warmup_cosine
    config.train.decay_factor = 0.94  # staircase: on the learning rate
    config.train.decay_epochs = 16  # staircase: every so many epochs
    config.train.warmup_steps = 0  # warmup_cosine
    config.train.weight_decay = 1e-5
    config.train.weight_decay_kind = "l2"  # l2: in the gradient, the meaning of 2018 | decoupled: AdamW
    # Checkpoints of another network (RUN/checkpoints), the best of which gives the first step all parameters and
    # running statistics that have the same names here; empty: all are random
    config.train.initialise_from = ""
    # Paths of parameters that are not trained, such as ("vision", "audio"); batch normalisation below them uses its
    # running statistics and leaves them as they are
    config.train.frozen = ()
    config.train.log_every_steps = 100
    config.train.checkpoint_every_steps = 1000  # validates, then saves
    config.train.pictures_every = 1  # validations from one set of pictures in TensorBoard to the next; 0: none
    config.train.wandb_project = ""  # of Weights & Biases (pip install -e ".[wandb]"); empty: nothing is sent there
    config.train.keep_checkpoints = 3  # latest ones; the best by validation loss is kept besides

    config.evaluation = ConfigDict()
    config.evaluation.dataset = ""  # builder/config that has the split; empty: data.dataset
    config.evaluation.split = "test"
    config.evaluation.evaluators = ("avc_accuracy", "ndcg")  # files of avlearn/evaluators
    config.evaluation.batch = 64  # clips
    config.evaluation.frame_pixels = 0  # side of the frames, resized to it; 0: inputs.frame_pixels
    config.evaluation.checkpoint = "best"  # best | latest
    # Log-odds above which avc_accuracy calls a pair corresponding. zero: 0 | validation: those of the best accuracy on
    # the validation split
    config.evaluation.threshold = "zero"
    config.evaluation.pair_draws = 5  # of avc_accuracy: other sounds that each frame meets, one in each draw
    config.evaluation.k = 30  # of nDCG@k
    config.evaluation.k_curve = (1, 2, 5, 10, 20, 30, 50, 100)  # K of figure 10 (OtS), from the same ranking
    config.evaluation.gain = "exponential"  # exponential | linear
    config.evaluation.own_item_across = "kept"  # kept | excluded: across modes, a query's own clip in the database
    config.evaluation.max_relevance = 20  # C in relevance = C - distance
    config.evaluation.ciou_protocol = "median"  # median | adaptive | half: how a map is cut (docs/metrics/ciou.md)
    config.evaluation.ciou_ground_truth = "union"  # union: of the boxes (VGG-SS) | consensus: of annotators (Flickr)
    config.evaluation.out_of_sight = "left_out"  # of negatives: left_out | negatives, where all that sounds has a box
    config.evaluation.fit_clips = 10_000  # training clips at most that evaluators such as cca are fitted on
    # Directory of another run, whose network embeds the sounds in place of this one ("": this one does): of networks
    # that do not hear (VGG16 and L3-Net's audio, OtS table 1)
    config.evaluation.sounds_from = ""
    config.evaluation.cca_components = 128  # directions of the figures; fewer where the features' rank is lower
    config.evaluation.cca_curve = (16, 32, 64, 128, 256, 512)  # directions of figure 9 (OtS), from the same fit
    config.evaluation.cca_regularisation = 0.0  # ridge, in units of the mean variance of a mode's features
    config.evaluation.nmi_clusters = 64  # of k-means
    config.evaluation.nmi_average = "arithmetic"  # arithmetic | geometric | min | max (docs/metrics/nmi.md)
    config.evaluation.nmi_label_rule = "expanded"  # expanded | first | only: clips of several classes (nmi.md)
    config.evaluation.tsne_perplexity = 30.0  # about how many neighbours a point has; below twice the clips
    config.evaluation.sound_dataset = "esc50/all"  # of sound_classification; builder/config, below data.data_dir
    config.evaluation.sound_windows = 10  # of one second, equally spaced, of each clip
    config.evaluation.sound_test_splits = ()  # folds are the dataset's splits; (): each is tested on in turn
    config.evaluation.image_dataset = "imagenet2012"  # of linear_probe: any TFDS classification set in data.data_dir
    config.evaluation.image_fit_split = "train"  # what the probe is trained on; a part as TFDS writes it: train[:10%]
    config.evaluation.image_split = "validation"  # what it is tested on
    config.evaluation.probe_epochs = 20  # passes over the training pictures
    config.evaluation.probe_batch = 256  # pictures of one step, on all devices together
    config.evaluation.probe_learning_rate = 1e-3  # of the first step; falls to 0 along a cosine
    config.evaluation.probe_label_smoothing = 0.1  # share of the label that is spread over all classes
    config.evaluation.films = 3  # clips that the report shows moment by moment (OtS figure 7); 0: none
    config.evaluation.after_training = True  # --mode=train ends with --mode=evaluate
    return config.lock()
