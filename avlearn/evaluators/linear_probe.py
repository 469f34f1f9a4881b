"""Linear probe: image classification by one linear layer on the vision features (Look, Listen and Learn, table 3)."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from avlearn.evaluators.numerics import array_checks, single_label
from avlearn.types import TableRow

NEEDS = ("image_features", "labels")
FIT_NEEDS = NEEDS
FIT_ON = "images_fit"
OPTIONAL = ("untrained_image_features",)
PAIRING = "images"
SOURCE_OPTIONS = ("dataset", "fit_split", "split")
TABLE = (TableRow("top1", "Linear probe, top-1", "majority", "most frequent class"),)
_CHUNK = 4096  # rows to process at a time

Layer = tuple[Float[np.ndarray, "dim classes"], Float[np.ndarray, " classes"]]


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float = 1e-3,
    label_smoothing: float = 0.1,
    seed: int = 0,
    mesh: Mesh | None = None,
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute the top-1 accuracy of a linear layer that is trained on the training split's features.

    Features are scaled to zero mean and unit variance over the training split. The layer starts at zero and is trained
    by Adam with a cosine schedule on the cross-entropy with smoothed labels. Nothing is chosen on the test split.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`), with one class per row.
      fit: the same arrays of the training split; if both have untrained_image_features, they give the baseline.
      epochs: passes over the training split; each leaves out other rows, those that do not fill the last batch.
      batch: rows of one step, at most all rows.
      learning_rate: learning rate of the first step.
      label_smoothing: share of the label that is spread over all classes.
      seed: seed of the order of the rows.
      mesh: mesh of one axis, whose devices share each step's rows; None: all devices.
      items_expected: images of the test split; None: the items given.

    Returns:
      top1, training_top1; baselines: chance (1 / classes), majority (the training split's most frequent class),
      untrained (None without such features); classes, fit (items), epochs, batch, learning_rate, label_smoothing, seed,
      items, items_expected.

    Raises:
      ValueError: arrays that are missing or wrong, no training features, or an option out of range.
    """
    check_options(epochs=epochs, batch=batch, learning_rate=learning_rate, label_smoothing=label_smoothing)
    if fit is None:
        raise ValueError(
            "linear_probe: no training features (fit); the layer is trained on the features of the training split"
        )
    untrained = [name for name in OPTIONAL if name in test and name in fit]
    features, labels, *others = array_checks.arrays("linear_probe", test, (*NEEDS, *untrained))
    fit_features, fit_labels, *fit_others = array_checks.arrays("linear_probe (fit)", fit, (*NEEDS, *untrained))
    _check_shapes(features, labels, fit_features, fit_labels)
    _, classes = single_label.classes("linear_probe", labels, "only")
    _, fit_classes = single_label.classes("linear_probe (fit)", fit_labels, "only")
    settings = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "label_smoothing": label_smoothing}
    learn = functools.partial(train, classes=fit_classes, count=labels.shape[1], seed=seed, mesh=mesh, **settings)
    layer = learn(fit_features)
    return {
        "top1": top1(layer, features, classes),
        "training_top1": top1(layer, fit_features, fit_classes),
        "baselines": {
            "chance": 1 / labels.shape[1],
            "majority": float((classes == np.bincount(fit_classes).argmax()).mean()),
            "untrained": top1(learn(fit_others[0]), others[0], classes) if untrained else None,
        },
        "protocol": "one linear layer on scaled features, Adam with a cosine, label smoothing; top-1",
        "classes": labels.shape[1],
        "fit": {"items": len(fit_classes)},
        **settings,
        "seed": seed,
        "items": len(classes),
        "items_expected": array_checks.expected(len(classes), items_expected),
    }


def train(
    features: Float[np.ndarray, "n dim"],
    classes: Int[np.ndarray, " n"],
    *,
    count: int,
    epochs: int,
    batch: int,
    learning_rate: float,
    label_smoothing: float,
    seed: int,
    mesh: Mesh | None = None,
) -> Layer:
    """Train the layer; return weights and biases for unscaled features.

    The devices share the rows of a step; padding rows have weight 0.
    """
    mesh = Mesh(np.array(jax.devices()), ("rows",)) if mesh is None else mesh
    mean, deviation = moments(features)
    batch = min(batch, len(features))
    steps = epochs * (len(features) // batch)
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    layer = (jnp.zeros((features.shape[1], count)), jnp.zeros(count))
    layer, state = jax.device_put((layer, adam.init(layer)), NamedSharding(mesh, PartitionSpec()))
    padding = -batch % mesh.size
    weight = np.repeat(np.array([1, 0], np.float32), [batch, padding])
    step = jax.jit(functools.partial(_step, adam=adam, label_smoothing=label_smoothing))
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(features))
        for start in range(0, len(features) - batch + 1, batch):
            rows = np.pad(order[start : start + batch], (0, padding))
            scaled = (features[rows].astype(np.float32) - mean) / deviation
            layer, state = step(layer, state, *(_shared(mesh, x) for x in (scaled, classes[rows], weight)))
        jax.block_until_ready(layer)
    weights = np.asarray(layer[0]) / deviation[:, None]
    return weights, np.asarray(layer[1]) - mean @ weights


def top1(layer: Layer, features: Float[np.ndarray, "n dim"], classes: Int[np.ndarray, " n"]) -> float:
    """Compute the share of rows whose class has the highest score; the first class wins a tie."""
    weights, bias = layer
    chunks = (slice(start, start + _CHUNK) for start in range(0, len(features), _CHUNK))
    right = [((features[c] @ weights + bias).argmax(axis=1) == classes[c]).sum() for c in chunks]
    return float(sum(right) / len(features))


def moments(features: Float[np.ndarray, "n dim"]) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    """Compute mean and standard deviation of each feature, float32; the deviation of a constant feature is 1."""
    chunks = [features[start : start + _CHUNK] for start in range(0, len(features), _CHUNK)]
    zero = np.zeros(features.shape[1])
    mean = sum((chunk.sum(axis=0, dtype=np.float64) for chunk in chunks), start=zero) / len(features)
    variance = sum((np.square(chunk - mean).sum(axis=0) for chunk in chunks), start=zero) / len(features)
    varies = variance > (10 * np.finfo(np.float32).eps * mean) ** 2
    return mean.astype(np.float32), np.where(varies, np.sqrt(variance), 1).astype(np.float32)


def _shared(mesh: Mesh, rows: np.ndarray) -> Array:
    """Shard rows over the devices; every process holds all rows."""
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index])


def _step(
    layer: tuple[Float[Array, "dim classes"], Float[Array, " classes"]],
    state: optax.OptState,
    features: Float[Array, "batch dim"],
    classes: Int[Array, " batch"],
    weight: Float[Array, " batch"],
    *,
    adam: optax.GradientTransformation,
    label_smoothing: float,
) -> tuple[optax.Params, optax.OptState]:
    def loss(layer: tuple[Float[Array, "dim classes"], Float[Array, " classes"]]) -> Float[Array, ""]:
        logits = jnp.matmul(features, layer[0], precision="highest") + layer[1][None, :]
        labels = optax.smooth_labels(jax.nn.one_hot(classes, logits.shape[1]), label_smoothing)
        return (weight * optax.softmax_cross_entropy(logits, labels)).sum() / weight.sum()

    updates, state = adam.update(jax.grad(loss)(layer), state, layer)
    return optax.apply_updates(layer, updates), state


def check_options(*, epochs: int, batch: int, learning_rate: float, label_smoothing: float, **_: str) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is out of range.
    """
    if min(epochs, batch) < 1 or learning_rate <= 0 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"linear_probe: epochs = {epochs}, batch = {batch}, learning_rate = {learning_rate}, label_smoothing = "
            f"{label_smoothing}; they must be at least 1, at least 1, above 0, and at least 0 but below 1 "
            "(--config.evaluation.linear_probe)"
        )


def _check_shapes(
    features: Float[np.ndarray, "n dim"],
    labels: np.ndarray,
    fit_features: Float[np.ndarray, "m fit_dim"],
    fit_labels: np.ndarray,
) -> None:
    for name, one, other in (("image_features", features, fit_features), ("labels", labels, fit_labels)):
        if one.shape[1] != other.shape[1]:
            raise ValueError(
                f"linear_probe: {name} has {one.shape[1]} columns in {len(one)} rows, but {other.shape[1]} in the "
                f"{len(other)} rows of fit; both splits must have the same network and the same classes"
            )
