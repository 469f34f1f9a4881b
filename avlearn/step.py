"""One step of training and one of prediction, as pure functions of state and batch."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, ArrayLike, Int, PyTree

from avlearn.parallel import AXIS
from avlearn.types import Array as AnyArray
from avlearn.types import Batch, Outputs

Score = Callable[[nnx.Module, Batch], tuple[Array, dict[str, Array]]]
Loss = Callable[[Array, Array, Array], tuple[Array, dict[str, Array]]]  # of log-odds, corresponds, weight
ContrastLoss = Callable[[Array, Array, Array], tuple[Array, dict[str, Array]]]  # of the contrast, video, weight
# Of both modes' log-probabilities of the classes, labels, video, weight.
ClassLoss = Callable[[Array, Array, Array, Array, Array], tuple[Array, dict[str, Array]]]
# What is computed a second time in the backward pass, and not kept for it. A convolution's output is kept, by its name
# (avlearn/models/parts/convolution.py): normalisations, ReLUs and poolings are repeated, and no convolution.
REMATERIALISATIONS = {
    "nothing": lambda function: function,
    "all_but_convolutions": functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names("convolution")
    ),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that training changes.

    Attributes:
      step: number of updates done.
      params: parameters, float32.
      batch_stats: running means and variances, averaged over the workers.
      opt_state: state of the optimizer.
    """

    step: Int[AnyArray, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree


def initial_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    _, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, batch_stats = nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))


def with_values(model: nnx.Module, params: PyTree, batch_stats: PyTree) -> nnx.Module:
    """A model with these parameters and running statistics, in the mode (training, evaluation) of `model`."""
    graph, param_state, stat_state = nnx.split(model, nnx.Param, nnx.BatchStat)
    nnx.replace_by_pure_dict(param_state, params)
    nnx.replace_by_pure_dict(stat_state, batch_stats)
    return nnx.merge(graph, param_state, stat_state)


def with_arrays(state: TrainState, arrays: Mapping[str, ArrayLike]) -> TrainState:
    """The state with these parameters and running statistics, by path; what is not among them stays."""

    def replaced(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return jnp.asarray(arrays[name], leaf.dtype) if name in arrays else leaf

    params, batch_stats = (
        jax.tree_util.tree_map_with_path(replaced, tree) for tree in (state.params, state.batch_stats)
    )
    return dataclasses.replace(state, params=params, batch_stats=batch_stats)


def is_below(name: str, paths: Sequence[str]) -> bool:
    """Whether a dotted name such as `vision.conv1_1.kernel` is one of these paths or stands below one."""
    return any(f"{name}.".startswith(f"{path}.") for path in paths)


def below(paths: Sequence[str], tree: PyTree) -> PyTree:
    """Which leaves of a tree stand at or below these dotted paths."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: is_below(jax.tree_util.keystr(path, simple=True, separator="."), paths), tree
    )


def without_gradients(params: PyTree, frozen: Sequence[str]) -> PyTree:
    """The parameters, those below the paths of `frozen` as constants."""
    return jax.tree.map(
        lambda constant, leaf: jax.lax.stop_gradient(leaf) if constant else leaf, below(frozen, params), params
    )


def score_pairs(model: nnx.Module, batch: Batch, *, loss: Loss):
    """Loss over the pairs of the batch as they come: half of them correspond (L3 2.2, OtS 3)."""
    outputs = model(batch)
    return loss(outputs.logit, batch.corresponds, batch.weight)


def score_all_pairs(model: nnx.Module, batch: Batch, *, loss: Loss):
    """Loss over every frame with every sound of the worker's batch; the loss gives both kinds equal weight."""
    # DIFFERS: (Objects that Sound 3) pairing `all_pairs` takes all other sounds of the batch as negatives, not one.
    image = model.image_features(*batch.seen)
    audio = model.audio_features(batch.log_spectrogram)
    logit = model.compare(image[:, None], audio[None, :])
    same_clip = jnp.eye(logit.shape[0], dtype=bool)
    other_video = batch.video[:, None] != batch.video[None, :]
    weight = batch.weight[:, None] * batch.weight[None, :] * (same_clip | other_video)
    return loss(logit, same_clip, weight)


def score_contrast(model: nnx.Module, batch: Batch, *, loss: ContrastLoss):
    """Loss over what the network's `contrast` says of every frame with every sound of the worker's batch at once."""
    image = model.image_features(*batch.seen)
    audio = model.audio_features(batch.log_spectrogram)
    return loss(model.contrast(image, audio), batch.video, batch.weight)


def score_labelled(model: nnx.Module, batch: Batch, *, loss: ClassLoss):
    """Loss over what the network takes frames and sounds for, each on its own, against the classes of their clips."""
    image = model.image_features(batch.frames)
    audio = model.audio_features(batch.log_spectrogram)
    return loss(image, audio, batch.labels, batch.video, batch.weight)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nnx.Module,
    score: Score,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    frozen: Sequence[str] = (),
    rematerialise: str = "nothing",
) -> tuple[TrainState, dict[str, Array]]:
    """One synchronous update from `[workers, batch_per_worker, ...]`.

    Each worker normalises by the statistics of its own batch (OtS 3.3: batch normalisation per GPU); gradients, running
    statistics and metrics are averaged over the workers.

    Args:
      state: replicated on the mesh.
      batch: sharded over workers.
      model: in training mode; only its structure is used.
      score: `score_pairs`, `score_all_pairs`, `score_contrast` or `score_labelled` with its loss.
      optimizer: the same as made the state.
      mesh: one axis; each device carries workers / devices workers in turn.
      frozen: dotted paths; no gradient is computed for parameters below them, and running statistics there stay as they
        are to the bit. `optimizer` has to leave those parameters alone, and normalisation there to use its running
        statistics: that is up to who made the optimizer and the model.
      rematerialise: a name in `REMATERIALISATIONS`.

    Returns:
      The next state, and the metrics of this batch: `loss`, those of the loss, and `gradient_norm`; of each worker,
      `worker_loss` and `worker_gradient_norm` `[workers]`, sharded over them.
    """
    num_workers = batch.corresponds.shape[0]
    keep = REMATERIALISATIONS[rematerialise]

    def one_worker(params, stats, worker_batch):
        def objective(params):
            network = with_values(model, without_gradients(params, frozen), stats)
            value, metrics = score(network, worker_batch)
            new_stats = nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
            return value, (new_stats, {"loss": value, **metrics})

        gradients, (new_stats, metrics) = jax.grad(keep(objective), has_aux=True)(params)
        return gradients, new_stats, metrics

    def of_worker(each):
        gradients, _, metrics = each
        return {"worker_loss": metrics["loss"], "worker_gradient_norm": optax.tree.norm(gradients)}

    def workers_of_device(params, stats, batches):
        def add(total, worker_batch):
            each = one_worker(params, stats, worker_batch)
            return jax.tree.map(jnp.add, total, each), of_worker(each)

        first = jax.tree.map(lambda x: x[0], batches)
        if batches.corresponds.shape[0] == 1:  # on a CPU, XLA runs convolutions inside a loop many times slower
            total = one_worker(params, stats, first)
            workers = jax.tree.map(lambda x: x[None], of_worker(total))
        else:
            shapes = jax.eval_shape(one_worker, params, stats, first)
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            total, workers = jax.lax.scan(add, nothing, batches)
        return *jax.tree.map(lambda x: jax.lax.psum(x, AXIS) / num_workers, total), workers

    everywhere, shared = PartitionSpec(), PartitionSpec(AXIS)
    gradients, batch_stats, metrics, workers = jax.shard_map(
        workers_of_device,
        mesh=mesh,
        in_specs=(everywhere, everywhere, shared),
        out_specs=(everywhere, everywhere, everywhere, shared),
        check_vma=False,
    )(state.params, state.batch_stats, batch)
    # The mean over workers of the same value may differ from it in the last bit.
    batch_stats = jax.tree.map(_first_if, below(frozen, batch_stats), state.batch_stats, batch_stats)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    return TrainState(state.step + 1, params, batch_stats, opt_state), metrics | workers


def _first_if(condition: bool, first: Array, second: Array) -> Array:
    return first if condition else second


def predict(state: TrainState, batch: Batch, *, model: nnx.Module) -> Outputs:
    """Outputs for `[batch, ...]` with running statistics (`model` in evaluation mode)."""
    return with_values(model, state.params, state.batch_stats)(batch)


def evaluation_loss(state: TrainState, batch: Batch, *, model: nnx.Module, score: Score) -> Array:
    """Training's loss of `[batch, ...]` as one worker's batch, with running statistics (`model` in evaluation mode)."""
    return score(with_values(model, state.params, state.batch_stats), batch)[0]


def jit_train_step(**fixed):
    """`train_step` compiled, its state donated."""
    return jax.jit(functools.partial(train_step, **fixed), donate_argnums=0)
