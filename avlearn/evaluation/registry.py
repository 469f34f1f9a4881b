"""The evaluators that a config names, with their options, and what they ask of the network and the datasets."""

import inspect
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

import avlearn.evaluators
from avlearn.build import Network, by_name
from avlearn.data import built_dataset
from avlearn.evaluation import collect, features, scoring
from avlearn.evaluators import avc_accuracy, ciou, ndcg, nmi
from avlearn.evaluators.numerics import pixel_maps, single_label
from avlearn.ontology import Ontology

# What the records say of each pair, for the evaluators.
ANNOTATIONS = {"corresponds", "labels", "boxes", "box_label", "box_sounding", "box_annotator"}
ANNOTATIONS |= {"image_item", "audio_item", "clip_id", "pair_draw", "clip", "fold", "tested", "silent", "source"}


def build_evaluators(
    config: ConfigDict, relevance: np.ndarray | None, mesh: Mesh | None = None
) -> tuple[scoring.Evaluator, ...]:
    """The evaluators that the config names.

    Args:
      config: its section `evaluation`, and the seed.
      relevance: between classes; may be None where nothing is retrieved, or only the evaluators' needs are asked.
      mesh: of the devices that an evaluator may train on; None: of all of them.

    Raises:
      ValueError: an unknown evaluator or option.
    """
    settings = config.evaluation
    choices = {
        "threshold": avc_accuracy.THRESHOLDS,
        "gain": ndcg.GAINS,
        "own_item_across": ndcg.OWN_ITEM,
        "nmi_average": nmi.AVERAGES,
        "nmi_label_rule": single_label.RULES,
        "ciou_protocol": ciou.PROTOCOLS,
        "ciou_ground_truth": pixel_maps.GROUND_TRUTHS,
    }
    for key, allowed in choices.items():
        if settings[key] not in allowed:
            use = f"use --config.evaluation.{key}={' or '.join(allowed)}"
            raise ValueError(f"{key} {settings[key]!r} is unknown; {use}.")
    retrieval = {name: settings[name] for name in ("k", "gain", "own_item_across")} | {"class_relevance": relevance}
    places = {"curve": settings.k_curve}
    alignment = {name: settings[f"cca_{name}"] for name in ("components", "curve", "regularisation")}
    options = {
        "ndcg": retrieval | places,
        "cca": retrieval | alignment,
        "ciou": {"protocol": settings.ciou_protocol, "ground_truth": settings.ciou_ground_truth},
        "iiou": {"protocol": settings.ciou_protocol},
        "negatives": {"protocol": settings.ciou_protocol, "out_of_sight": settings.out_of_sight},
        "nmi": {name: settings[f"nmi_{name}"] for name in ("clusters", "average", "label_rule")},
        "tsne": {"perplexity": settings.tsne_perplexity},
        "linear_probe": {
            name: settings[f"probe_{name}"] for name in ("epochs", "batch", "learning_rate", "label_smoothing")
        }
        | {"mesh": mesh},
    }
    evaluators = []
    for name in settings.evaluators:
        module = by_name(avlearn.evaluators, name, "evaluation.evaluators")
        taken = inspect.signature(module.evaluate).parameters
        seed = {} if {"seed", "options"}.isdisjoint(taken) else {"seed": config.seed}
        fit_needs, fit_on = getattr(module, "FIT_NEEDS", ()), getattr(module, "FIT_ON", collect.FIT)
        if module is avc_accuracy and settings.threshold == "validation":
            fit_needs, fit_on = avc_accuracy.THRESHOLD_NEEDS, collect.VALIDATION
        evaluators.append(
            scoring.Evaluator(
                name,
                module.NEEDS,
                module.PAIRING,
                module.evaluate,
                options.get(name, {}) | seed,
                optional=getattr(module, "OPTIONAL", ()),
                fit_needs=fit_needs,
                fit_on=fit_on,
            )
        )
    return tuple(evaluators)


def available(config: ConfigDict, network: Network) -> set[str]:
    """Names of the arrays that evaluators can read of a network and of the records."""
    heard = {"audio_embedding"} if config.evaluation.sounds_from else set()
    return heard | collect.output_names(network.outputs(2)) | features.delivered(network.evaluation) | ANNOTATIONS


def retrieves(config: ConfigDict) -> bool:
    """Whether an evaluator of the config asks for the relevance between classes."""
    return not {"ndcg", "cca"}.isdisjoint(config.evaluation.evaluators)


def class_relevance(split: built_dataset.Split, max_relevance: int) -> np.ndarray:
    """Relevance between classes: by the dataset's ontology, or 1 for the same class where it has none."""
    if not split.ontology:
        return np.eye(len(split.class_ids), dtype=int)
    return Ontology.from_nodes(split.ontology).class_relevance(split.class_ids, max_relevance=max_relevance)


def check_classes(
    evaluators: Sequence[scoring.Evaluator], train: built_dataset.Split, evaluation: built_dataset.Split
) -> None:
    """Refuses evaluators that learn classes from one dataset and meet other classes in another.

    Raises:
      ValueError: names the evaluators, the datasets and how many classes they share.
    """
    fitted = [each.name for each in evaluators if each.fit_on == collect.FIT and "labels" in each.fit_needs]
    if fitted and train.class_ids != evaluation.class_ids:
        shared = len(set(train.class_ids) & set(evaluation.class_ids))
        raise ValueError(
            f"{', '.join(fitted)} would be fitted on the {len(train.class_ids)} classes of {train.dataset} and tested "
            f"on the {len(evaluation.class_ids)} of {evaluation.dataset}, of which {shared} are the same; their lists "
            "must be equal. Leave it out of --config.evaluation.evaluators, or evaluate on data.dataset "
            "(--config.evaluation.dataset=)."
        )


def tested_splits(config: ConfigDict, splits: Sequence[str]) -> tuple[str, ...]:
    """Splits of the sound dataset, each a fold, that sounds are classified on.

    Raises:
      ValueError: the config names a split that there is not.
    """
    tested = tuple(config.evaluation.sound_test_splits) or tuple(splits)
    unknown = [name for name in tested if name not in splits]
    if unknown:
        raise ValueError(
            f"{config.evaluation.sound_dataset} has no split {', '.join(unknown)}; --config.evaluation."
            f"sound_test_splits takes some of {', '.join(splits)}"
        )
    return tested
