"""The training step, prediction, and the losses of a batch, as pure functions of state and batch."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, ArrayLike, Int, PyTree

from avlearn.devices import reduction
from avlearn.devices.placement import AXIS
from avlearn.types import Array as AnyArray
from avlearn.types import Batch, Outputs

Score = Callable[[nnx.Module, Batch], tuple[Array, dict[str, Array]]]
Loss = Callable[[Array, Array, Array], tuple[Array, dict[str, Array]]]  # takes log-odds, corresponds, weight
ContrastLoss = Callable[[Array, Array, Array], tuple[Array, dict[str, Array]]]  # takes the contrast, video, weight
# Takes the log-probabilities of the classes of both modes, labels, video, weight.
ClassLoss = Callable[[Array, Array, Array, Array, Array], tuple[Array, dict[str, Array]]]
# Name of what the backward pass recomputes to the function that does so. The outputs of convolutions, which
# avlearn/models/layers/convolution.py names, are always kept; normalisations, ReLUs and poolings are recomputed.
REMATERIALISATIONS = {
    "nothing": lambda function: function,
    "all_but_convolutions": functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names("convolution")
    ),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
      step: number of updates.
      params: parameters, float32.
      batch_stats: running means and variances, averaged over the workers.
      opt_state: state of the optimizer.
    """

    step: Int[AnyArray, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree


def initial_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state before the first step."""
    _, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, batch_stats = nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))


def with_values(model: nnx.Module, params: PyTree, batch_stats: PyTree) -> nnx.Module:
    """Return a model with these parameters and running statistics, in the mode (training, evaluation) of `model`."""
    graph, param_state, stat_state = nnx.split(model, nnx.Param, nnx.BatchStat)
    nnx.replace_by_pure_dict(param_state, params)
    nnx.replace_by_pure_dict(stat_state, batch_stats)
    return nnx.merge(graph, param_state, stat_state)


def with_arrays(state: TrainState, arrays: Mapping[str, ArrayLike]) -> TrainState:
    """Replace parameters and running statistics by path; those that are not given stay unchanged."""

    def replaced(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return jnp.asarray(arrays[name], leaf.dtype) if name in arrays else leaf

    params, batch_stats = (
        jax.tree_util.tree_map_with_path(replaced, tree) for tree in (state.params, state.batch_stats)
    )
    return dataclasses.replace(state, params=params, batch_stats=batch_stats)


def is_below(name: str, paths: Sequence[str]) -> bool:
    """Return whether a dotted name such as `vision.conv1_1.kernel` is one of these paths or below one."""
    return any(f"{name}.".startswith(f"{path}.") for path in paths)


def below(paths: Sequence[str], tree: PyTree) -> PyTree:
    """Return a tree that is true at the leaves at or below these dotted paths."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: is_below(jax.tree_util.keystr(path, simple=True, separator="."), paths), tree
    )


def without_gradients(params: PyTree, frozen: Sequence[str]) -> PyTree:
    """Stop the gradients of the parameters below the paths of `frozen`."""
    return jax.tree.map(
        lambda constant, leaf: jax.lax.stop_gradient(leaf) if constant else leaf, below(frozen, params), params
    )


def score_pairs(model: nnx.Module, batch: Batch, *, loss: Loss):
    """Compute the loss over the pairs of the batch; half of them correspond (L3 2.2, OtS 3)."""
    outputs = model(batch)
    return loss(outputs.logit, batch.corresponds, batch.weight)


def score_all_pairs(model: nnx.Module, batch: Batch, *, loss: Loss):
    """Compute the loss over all pairs of frames and audio of the worker's batch; both kinds have equal weight."""
    # DIFFERS: (Objects that Sound 3) with `all_pairs` the audio of every other clip is a negative, not that of one.
    image = model.image_features(*batch.image_inputs)
    audio = model.audio_features(batch.audio_inputs)
    logit = model.compare(image[:, None], audio[None, :])
    same_clip = jnp.eye(logit.shape[0], dtype=bool)
    other_video = batch.video[:, None] != batch.video[None, :]
    weight = batch.weight[:, None] * batch.weight[None, :] * (same_clip | other_video)
    return loss(logit, same_clip, weight)


def score_contrast(model: nnx.Module, batch: Batch, *, loss: ContrastLoss):
    """Compute the loss over the network's `contrast` of all frames and audio of the worker's batch."""
    image = model.image_features(*batch.image_inputs)
    audio = model.audio_features(batch.log_spectrogram)
    return loss(model.contrast(image, audio), batch.video, batch.weight)


def score_labelled(model: nnx.Module, batch: Batch, *, loss: ClassLoss):
    """Compute the loss of classifying frames and audio separately, against the classes of their clips."""
    image = model.image_features(batch.frames)
    audio = model.audio_features(batch.log_spectrogram)
    return loss(image, audio, batch.labels, batch.video, batch.weight)


class TrainStep:
    """A synchronous update from a batch `[workers, batch_per_worker, ...]`: `state, metrics = step(state, batch)`.

    Each worker normalises by the statistics of its own batch (OtS 3.3: batch normalisation per GPU); gradients, running
    statistics and metrics are averaged over the workers.

    A device computes its workers one after the other and adds them in a binary tree, so that 16 workers (any power of
    two) are summed in the same order on 1, 2, 4, 8 or 16 devices. The gradients of a worker and the update are separate
    programs, since rounding depends on what is compiled together. On CPUs of one kind the result is therefore the same
    to the bit on any number of devices.

    Takes the state (replicated on the mesh, donated) and a batch sharded over workers. Returns the next state and the
    metrics of the batch: `loss`, the other metrics of the loss, `gradient_norm`, and for each worker `worker_loss` and
    `worker_gradient_norm` `[workers]`, sharded over the workers.
    """

    def __init__(
        self,
        *,
        model: nnx.Module,
        score: Score,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        frozen: Sequence[str] = (),
        rematerialise: str = "nothing",
        prepare: Callable[[PyTree], Batch] = lambda batch: batch,
    ):
        """Define the programs of the step without compiling them.

        Args:
          model: model in training mode; only its structure is used.
          score: `score_pairs`, `score_all_pairs`, `score_contrast` or `score_labelled` with its loss.
          optimizer: the optimizer that made the state.
          mesh: mesh of one axis; each device computes workers / devices workers in turn.
          frozen: dotted paths; parameters below them get no gradient, and running statistics there stay the same to the
            bit. The caller must also freeze them in `optimizer` and set normalisation there to evaluation mode.
          rematerialise: a name in `REMATERIALISATIONS`.
          prepare: function from a raw batch of the input pipeline to a worker's batch (`augment.augment_batch`).
        """
        self._devices = mesh.size
        everywhere, shared = PartitionSpec(), PartitionSpec(AXIS)
        keep = REMATERIALISATIONS[rematerialise]

        def worker_gradients(params, stats, batch):
            own_batch = prepare(jax.tree.map(lambda x: x[0], batch))

            def objective(params):
                network = with_values(model, without_gradients(params, frozen), stats)
                value, metrics = score(network, own_batch)
                return value, (nnx.to_pure_dict(nnx.state(network, nnx.BatchStat)), {"loss": value, **metrics})

            gradients, (new_stats, metrics) = jax.grad(keep(objective), has_aux=True)(params)
            own = {"worker_loss": metrics["loss"], "worker_gradient_norm": optax.tree.norm(gradients)}
            return jax.tree.map(lambda x: x[None], ((gradients, new_stats, metrics), own))

        def mean(sums, workers):
            total = reduction.sum_over_devices(jax.tree.map(lambda x: x[0], sums))
            return jax.tree.map(lambda x: x / workers, total)

        def update(state, means):
            gradients, batch_stats, metrics = means
            # The mean of equal values may differ from the value in the last bit.
            batch_stats = jax.tree.map(_first_if, below(frozen, batch_stats), state.batch_stats, batch_stats)
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            norm = {"gradient_norm": optax.tree.norm(gradients)}
            return TrainState(state.step + 1, params, batch_stats, opt_state), metrics | norm

        def on_each(function, in_specs, out_specs, **settings):
            sharded = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
            return jax.jit(sharded, **settings)

        self._worker_gradients = on_each(worker_gradients, (everywhere, everywhere, shared), shared)
        self._turn = on_each(_turn, (shared, everywhere), shared)
        self._add = on_each(_add, (shared, shared), shared, donate_argnums=0)
        self._concatenate = on_each(_concatenate, shared, shared)
        self._mean = on_each(mean, (shared, everywhere), everywhere)
        self._update = jax.jit(update, donate_argnums=0)

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, dict[str, Array]]:
        """Return the next state and the metrics of the batch, which `prepare` takes."""
        workers, own = batch.corresponds.shape[0], []

        def sums():
            for turn in range(workers // self._devices):
                one_each = batch if workers == self._devices else self._turn(batch, turn)
                averaged, separate = self._worker_gradients(state.params, state.batch_stats, one_each)
                if jax.default_backend() == "cpu":  # concurrent programs compete for threads
                    jax.block_until_ready(averaged)
                own.append(separate)
                yield averaged

        means = self._mean(reduction.sum_in_tree(sums(), self._add), float(workers))
        state, metrics = self._update(state, means)
        return state, metrics | self._concatenate(own)

    def working_bytes(self, state: TrainState, batch: PyTree) -> int:
        """Compile the step for these shapes; return the bytes of activations and gradients on each device."""
        memory = self.lower_worker(state, batch).compile().memory_analysis()
        turns = batch.corresponds.shape[0] // self._devices
        held = max(turn.bit_count() for turn in range(turns))  # sums of the tree, each as large as a worker's summand
        return memory.temp_size_in_bytes + (held + 1) * memory.output_size_in_bytes

    def lower_worker(self, state: TrainState, batch: PyTree, platform: str | None = None) -> jax.stages.Lowered:
        """Lower the program that computes one worker's gradients on each device, nearly all of a step's work.

        Args:
          state: parameters and statistics, or their shapes.
          batch: batch of all workers, or its shapes.
          platform: another platform than the mesh's, such as `tpu`; the lowered program cannot be compiled here.
        """
        one_each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((self._devices, *x.shape[1:]), x.dtype), batch)
        traced = self._worker_gradients.trace(state.params, state.batch_stats, one_each)
        return traced.lower(lowering_platforms=None if platform is None else (platform,))


def _turn(batch: PyTree, turn: Array) -> PyTree:
    """Return the batch of the worker whose turn it is on a device."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, turn, 1), batch)


def _add(some: PyTree, others: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, some, others)


def _concatenate(each: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *turns: jnp.concatenate(turns), *each)


def _first_if(condition: bool, first: Array, second: Array) -> Array:
    return first if condition else second


def predict(state: TrainState, batch: Batch, *, model: nnx.Module) -> Outputs:
    """Compute the outputs for a batch `[batch, ...]`; `model` is in evaluation mode."""
    return with_values(model, state.params, state.batch_stats)(batch)


def evaluation_loss(state: TrainState, batch: Batch, *, model: nnx.Module, score: Score) -> Array:
    """Compute the training loss of one worker's batch `[batch, ...]`; `model` is in evaluation mode."""
    return score(with_values(model, state.params, state.batch_stats), batch)[0]
