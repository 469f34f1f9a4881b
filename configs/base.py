"""The keys that all configs share, each with its unit and the papers' setting.

The other files state how they differ. The file of a network also declares the keys that only this network has, such as
`model.fc3_scale` in configs/avenet.py and `loss` in configs/lvs.py. Every key is a flag:
`--config.train.learning_rate=5e-5`. A key that no file declares is refused.
"""

import importlib
import pathlib

from ml_collections import ConfigDict

VARIANTS = ("", "miniature")


def get_config(variant: str = "") -> ConfigDict:
    """Return the settings that the experiments share, locked against new keys.

    Args:
      variant: the part after the colon in `--config=configs/avenet.py:miniature`: empty for the papers' settings,
        `miniature` for the same system on synthetic data at a size for two CPU cores.

    Raises:
      ValueError: the variant is neither of these.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"the variant is {variant!r}; --config=FILE.py has the papers' settings, --config=FILE.py:miniature the "
            "same system at a size for two CPU cores."
        )
    config = papers()
    if variant == "miniature":
        config.update(miniature())
    return config


def load_experiment(name: str) -> ConfigDict:
    """Return the config of another experiment, for configs that evaluate any network.

    Args:
      name: name of its file, optionally followed by a hyphen and its variant: `l3net`, `l3net-miniature`.

    Raises:
      ValueError: the file or the variant does not exist.
    """
    file, _, variant = name.partition("-")
    if not (pathlib.Path(__file__).parent / f"{file}.py").is_file():
        raise ValueError(f"configs/ has no file {file!r}; write a config's name after the colon: l3net-miniature.")
    return importlib.import_module(f"configs.{file}").get_config(variant)


def miniature() -> dict:
    """Return the settings that every miniature experiment changes."""
    return {
        "model": {"width": 0.25},
        "inputs": {"frame_pixels": 64, "pool": 4},
        "data": {"dataset": "synthetic_av/miniature", "pairing": "all_pairs"},
        "evaluation": {
            # Objects of the synthetic data are small: if half of the image is predicted, no map exceeds a cIoU of .08.
            "ciou": {"protocol": "adaptive"},
            "iiou": {"protocol": "adaptive"},
            # Every visible object of the synthetic data has a box.
            "negatives": {"protocol": "adaptive", "out_of_sight": "negatives"},
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
    """Return every key, with the papers' settings as far as they agree."""
    config = ConfigDict()
    config.seed = 0  # seed of the weights, the order of the clips and all random draws

    config.model = ConfigDict()
    config.model.name = ""  # a file of avlearn/models; each experiment names its own
    config.model.width = 1.0  # factor on the papers' channels (64, 128, 256, 512)
    config.model.conv1_stride = 2  # 2: Objects that Sound; 1: Look, Listen and Learn
    config.model.conv1_padding = "after"  # at stride 2: after, as the sizes in OtS | both, as PyTorch's padding=1
    config.model.frame_scaling = "symmetric"  # symmetric: -1 to 1 | imagenet: torchvision's mean and deviation
    config.model.batch_norm_momentum = 0.9  # running = momentum * running + (1 - momentum) * batch
    # Share of a 3 x 3 kernel's initial variance at its centre; 1/9: He normal, all cells alike
    config.model.kernel_centre_share = 1 / 9
    config.model.dtype = "float32"  # type of the activations: float32 | bfloat16; parameters are always float32

    config.loss = ConfigDict()  # arguments of the network's loss; configs/lvs.py declares those of LVS

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
    config.inputs.classes = 0  # classes of data.dataset, for a network that is trained on labels; 0: no labels

    config.data = ConfigDict()
    config.data.dataset = "audioset/instruments"  # builder/config
    config.data.data_dir = "data"  # where `tfds build --data_dir` wrote it
    # Like every split, also a sum or a part in TFDS's syntax: train+validation, train[:10%].
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    # avc: half positives, half negatives | all_pairs: every pair of a worker's batch | contrast: each clip against all
    # others in the batch (LVS, Attention10k) | labelled: each clip with its classes (supervised) | shifted: each moment
    # with its own audio and with that of another moment of its clip (multisensory)
    config.data.pairing = "avc"
    config.data.negatives = "on_grid"  # on_grid: audio at frame times (OtS 3.3) | off_grid: anywhere, a shortcut
    config.data.misalignment_seconds = 1.0  # audio up to this far from the frame, positives and negatives alike
    config.data.shift_seconds = (2.0, 5.8)  # pairing `shifted`: smallest and largest distance of the two moments
    config.data.spectrogram_scaling = "ln_12"  # a name in avlearn/data/augment.py
    config.data.flip = True  # flip half of the frames left to right
    config.data.brightness = 0.2  # added, uniform within +- this share of the full range
    config.data.saturation = 0.2  # factor, uniform in 1 +- this
    config.data.volume = 0.1  # factor on the amplitude, uniform in 1 +- this, the same for the whole second
    config.data.samples_per_clip = 1  # pairs drawn from a clip that is read, one in each of as many consecutive batches
    config.data.threads = 0  # threads of the input pipeline; 0: one for each core

    config.train = ConfigDict()
    config.train.num_workers = 16  # part of the algorithm, not of the machine
    config.train.batch_per_worker = 128  # pairs; determines the memory, since a device runs its workers one by one
    # Activations to recompute in the backward pass, to save memory.
    # nothing | all_but_convolutions: normalisations, ReLUs, poolings
    config.train.rematerialise = "nothing"
    config.train.steps = 100_000
    config.train.learning_rate = 1e-4  # at the first step, or at the end of the warm-up
    config.train.schedule = "staircase"  # staircase | warmup_cosine
    config.train.decay_factor = 0.94  # staircase: factor on the learning rate
    config.train.decay_epochs = 16  # staircase: epochs between two decays
    config.train.warmup_steps = 0  # warmup_cosine: steps of the warm-up
    config.train.weight_decay = 1e-5
    config.train.weight_decay_kind = "l2"  # l2: added to the gradient, as in 2018 | decoupled: AdamW
    # Checkpoints of another run (RUN/checkpoints); training starts from those parameters and running statistics of its
    # best one that have the same names here. Empty: training starts from random weights
    config.train.initialise_from = ""
    # Paths of parameters that are not trained, such as ("vision", "audio"); batch normalisation below them uses and
    # keeps its running statistics
    config.train.frozen = ()
    config.train.log_every_steps = 100
    config.train.checkpoint_every_steps = 1000  # validates, then saves
    config.train.pictures_every = 1  # validations between two sets of images in TensorBoard; 0: none
    config.train.wandb_project = ""  # project in Weights & Biases (pip install -e ".[wandb]"); empty: nothing is sent
    config.train.keep_checkpoints = 3  # the latest ones; the best by validation loss is also kept

    config.evaluation = ConfigDict()
    config.evaluation.dataset = ""  # builder/config that has the split; empty: data.dataset
    config.evaluation.split = "test"
    # Further datasets to evaluate on, each a string: builder/config/split, then keys of this section that differ there:
    # ("vgg_ss/full/test evaluators=ciou", "flickr_soundnet/full/test evaluators=ciou ciou.ground_truth=consensus")
    config.evaluation.also_on = ()
    config.evaluation.evaluators = ("avc_accuracy", "ndcg")  # files of avlearn/evaluators
    config.evaluation.batch = 64  # clips
    config.evaluation.frame_pixels = 0  # side that frames are resized to; 0: inputs.frame_pixels
    config.evaluation.checkpoint = "best"  # best | latest
    config.evaluation.fit_clips = 10_000  # maximum number of training clips that evaluators such as cca are fitted on
    config.evaluation.max_relevance = 20  # C in relevance = C - distance between classes in the ontology
    # Directory of another run, whose network embeds the audio instead of this one; empty: none. For networks that take
    # no audio (VGG16 with L3-Net's audio, OtS table 1)
    config.evaluation.sounds_from = ""
    config.evaluation.films = 3  # clips that the report animates, moment by moment (OtS figure 7); 0: none
    config.evaluation.after_training = True  # --mode=train ends with --mode=evaluate
    # One section for each evaluator with options; a section is named after the evaluator's file.
    config.evaluation.avc_accuracy = ConfigDict()
    # Log-odds above which a pair is predicted to correspond. zero: 0 | validation: the threshold with the best accuracy
    # on the validation split
    config.evaluation.avc_accuracy.threshold = "zero"
    # Negatives of each frame, one in each draw; fewer if the split is small.
    config.evaluation.avc_accuracy.pair_draws = 5
    config.evaluation.ndcg = ConfigDict()
    config.evaluation.ndcg.k = 30  # ranks
    config.evaluation.ndcg.curve = (1, 2, 5, 10, 20, 30, 50, 100)  # k of OtS figure 10, from the same ranking
    config.evaluation.ndcg.gain = "exponential"  # exponential | linear
    # kept | excluded: the query's own clip in the other mode's database
    config.evaluation.ndcg.own_item_across = "kept"
    config.evaluation.cca = ConfigDict()
    config.evaluation.cca.components = 128  # directions; at most the rank of the features
    config.evaluation.cca.curve = (16, 32, 64, 128, 256, 512)  # directions of OtS figure 9, from the same fit
    config.evaluation.cca.regularisation = 0.0  # ridge, in units of the mean variance of a mode's features
    config.evaluation.cca.k = 30  # as in ndcg
    config.evaluation.cca.gain = "exponential"
    config.evaluation.cca.own_item_across = "kept"
    config.evaluation.ciou = ConfigDict()
    # From heat map to prediction: median | adaptive | half (docs/metrics/ciou.md)
    config.evaluation.ciou.protocol = "median"
    config.evaluation.ciou.ground_truth = "union"  # union of boxes (VGG-SS) | consensus of annotators (Flickr)
    config.evaluation.iiou = ConfigDict()
    config.evaluation.iiou.protocol = "median"  # as in ciou
    config.evaluation.negatives = ConfigDict()
    config.evaluation.negatives.protocol = "median"  # as in ciou
    # left_out | negatives, if every visible sounding object has a box
    config.evaluation.negatives.out_of_sight = "left_out"
    config.evaluation.nmi = ConfigDict()
    config.evaluation.nmi.clusters = 64  # k of k-means
    # Mean of the entropies: arithmetic | geometric | min | max (docs/metrics/nmi.md)
    config.evaluation.nmi.average = "arithmetic"
    # Rule for clips with several classes: expanded | first | only (docs/metrics/nmi.md)
    config.evaluation.nmi.label_rule = "expanded"
    config.evaluation.tsne = ConfigDict()
    config.evaluation.tsne.perplexity = 30.0  # about the number of neighbours of a point; below twice the clips
    config.evaluation.sound_classification = ConfigDict()
    config.evaluation.sound_classification.dataset = "esc50/all"  # builder/config, below data.data_dir
    config.evaluation.sound_classification.windows = 10  # windows of one second per clip, equally spaced
    config.evaluation.sound_classification.test_splits = ()  # splits to test on, each a fold; (): all in turn
    config.evaluation.linear_probe = ConfigDict()
    config.evaluation.linear_probe.dataset = "imagenet2012"  # any TFDS classification dataset in data.data_dir
    config.evaluation.linear_probe.fit_split = "train"  # split to train on, or a part in TFDS's syntax: train[:10%]
    config.evaluation.linear_probe.split = "validation"  # split to test on
    config.evaluation.linear_probe.epochs = 20  # passes over the training images
    config.evaluation.linear_probe.batch = 256  # images of one step, on all devices together
    config.evaluation.linear_probe.learning_rate = 1e-3  # at the first step; falls to 0 along a cosine
    config.evaluation.linear_probe.label_smoothing = 0.1  # share of the label that is spread over all classes
    return config.lock()
