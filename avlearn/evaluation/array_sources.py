"""The sources of evaluators' arrays: a dataset and split of the config, and forward passes over it."""

import functools
import logging
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from avlearn.data import built_dataset, evaluation_pairs, images, order, requirements
from avlearn.evaluation import collect, registry
from avlearn.evaluation.collect import ArraySource
from avlearn.evaluation.forward_passes import ForwardPasses

LOG = logging.getLogger("avlearn")
# Pairings whose negatives take the audio of other clips.
WITH_NEGATIVES = (collect.FIRST_DRAW, collect.DRAWS, "negatives")


def evaluation_split(config: ConfigDict, open_split: Callable) -> built_dataset.Split:
    """Open the split of `config.evaluation.dataset`, or of the training dataset if that is empty."""
    return open_split(config.evaluation.dataset or config.data.dataset, split=config.evaluation.split)


def pair_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable, *, pairing: str) -> ArraySource:
    """Return the source of pairs of the evaluation split."""
    split = evaluation_split(config, open_split)
    requirements.check_split(split, passes.inputs)
    gather = functools.partial(passes.pairs, split=split, pairing=pairing)
    note = ""
    if pairing in WITH_NEGATIVES:
        wanted = config.evaluation.avc_accuracy.pair_draws if pairing == collect.DRAWS else 1
        draws, note = _negatives(config, split, pairing, wanted)
        paired = "negatives" if pairing == "negatives" else collect.FIRST_DRAW
        gather = functools.partial(passes.pairs, split=split, pairing=paired, draws=draws)
    if pairing == "sources":
        gather = functools.partial(passes.single_sources, split=split)
    return ArraySource(split.dataset, split.name, len(split), gather, note=note)


def _negatives(config: ConfigDict, split: built_dataset.Split, pairing: str, wanted: int) -> tuple[int, str]:
    """Return how many negatives each frame gets, at most those wanted, and what is special about them; say both.

    Raises:
      ValueError: the split has a single clip.
    """
    names = ", ".join(each.evaluator for each in registry.needs(config) if each.pairing == pairing)
    try:
        draws, note = evaluation_pairs.possible_negatives(split, wanted)
    except ValueError as error:
        raise ValueError(
            f"{names}: {error}. Name another split with --config.evaluation.split, or leave it out of "
            "--config.evaluation.evaluators."
        ) from error
    of = f"the split {split.name!r} of {split.dataset}"
    if draws < wanted:
        LOG.info(
            "%s: %d negatives of each frame, not %d (--config.evaluation.avc_accuracy.pair_draws): %s has few clips.",
            names,
            draws,
            wanted,
            of,
        )
    if note:
        LOG.info("%s: %s (%s).", names, note, of)
    return draws, note


def validation_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """Return the source of balanced pairs of the validation split."""
    split = open_split(config.data.dataset, split=config.data.validation_split)
    gather = functools.partial(passes.pairs, split=split, pairing=collect.FIRST_DRAW)
    return ArraySource(split.dataset, split.name, len(split), gather)


def fit_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """Return the source that evaluators are fitted on: the first `config.evaluation.fit_clips` clips of epoch 0."""
    split = open_split(config.data.dataset, split=config.data.train_split)
    registry.check_classes(registry.needs(config), split, evaluation_split(config, open_split))
    first = order.epoch_order(len(split), config.seed, 0)[: config.evaluation.fit_clips]
    options = {"split": split, "pairing": "all_positive", "items": sorted(first.tolist())}
    rule = "the first clips of the first epoch's order"
    return ArraySource(split.dataset, split.name, len(split), functools.partial(passes.pairs, **options), rule)


def window_source(config: ConfigDict, passes: ForwardPasses, open_split: Callable) -> ArraySource:
    """Return the source of windows of the sound dataset; each of its splits is a fold."""
    options = config.evaluation.sound_classification
    names = built_dataset.split_names(options.dataset, config.data.data_dir)
    tested = _tested_splits(config, names)
    splits = {name: open_split(options.dataset, split=name) for name in names}
    gather = functools.partial(passes.windows, splits=tuple(splits.values()), count=options.windows, tested=tested)
    clips = sum(len(splits[name]) for name in tested)
    return ArraySource(options.dataset, ", ".join(tested), clips, gather)


def _tested_splits(config: ConfigDict, splits: Sequence[str]) -> tuple[str, ...]:
    """Return the splits of the sound dataset to test on; each split is a fold.

    Raises:
      ValueError: the config names an unknown split, or there is only one.
    """
    options = config.evaluation.sound_classification
    if len(splits) < 2:
        raise ValueError(
            f"{options.dataset} has one split, {splits[0]}; sound_classification tests on one and trains on the others "
            "(--config.evaluation.sound_classification.dataset)"
        )
    tested = tuple(options.test_splits) or tuple(splits)
    unknown = [name for name in tested if name not in splits]
    if unknown:
        raise ValueError(
            f"{options.dataset} has no split {', '.join(unknown)}; "
            f"--config.evaluation.sound_classification.test_splits takes some of {', '.join(splits)}"
        )
    return tested


def image_source(config: ConfigDict, passes: ForwardPasses, _: Callable, *, split_key: str) -> ArraySource:
    """Return the source of images of the classification dataset."""
    options = config.evaluation.linear_probe
    split = images.open_images(options.dataset, config.data.data_dir, options[split_key])
    return ArraySource(split.dataset, split.name, len(split), functools.partial(passes.images, split=split))


SOURCES = {
    **{pairing: functools.partial(pair_source, pairing=pairing) for pairing in collect.PAIRS},
    "windows": window_source,
    "images": functools.partial(image_source, split_key="split"),
    collect.FIT: fit_source,
    collect.VALIDATION: validation_source,
    collect.IMAGES_FIT: functools.partial(image_source, split_key="fit_split"),
}
