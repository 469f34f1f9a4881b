"""Where evaluation's arrays come from: passes of a network over pairs, windows of sound, and pictures."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float32

from avlearn.data import built_dataset, evaluation_pairs, images, moments, pairs, windows
from avlearn.data.sample import Sampling
from avlearn.devices import placement
from avlearn.evaluation import collect, features
from avlearn.runs.preemption import Preemption
from avlearn.training.step import TrainState
from avlearn.types import Arrays, Batch, InputSpec


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPasses:
    """Forward passes of one network; each takes its state and the names of the arrays that are wanted.

    Attributes:
      model: in evaluation mode.
      outputs: names of what it says about pairs, which are always collected.
      initial: its state of step 0, for the arrays of the untrained network.
      inputs: what it eats.
      sampling: of it, the scaling of the log-spectrogram, the shift and the threads are used.
      mesh: where it runs.
      batch_size: rows of a batch, a multiple of the devices.
      seed: of the choice of negatives.
      preemption: who listens for the notice to leave while batches pass.
    """

    model: nnx.Module
    outputs: frozenset[str]
    initial: TrainState
    inputs: InputSpec
    sampling: Sampling
    mesh: Mesh
    batch_size: int
    seed: int
    preemption: Preemption

    def pairs(self, state: TrainState, names: Collection[str] = (), *, split: built_dataset.Split, **options) -> Arrays:
        """Pairs of frames and sounds (`options` as for `batches`): every output of the network and the named arrays."""
        batches = self.batches(split, **options)
        return collect.collect(self._predict(features.arrays, state, self.outputs | set(names)), batches)

    def single_sources(self, state: TrainState, names: Collection[str], *, split: built_dataset.Split) -> Arrays:
        """Each frame on which several objects sound, with each of their sounds from a clip in which it is alone.

        Returns:
          As of `pairs`; source, the class of the sound; and of the boxes only those of the source.
        """
        annotated = collect.collect(lambda _: {}, self.batches(split, pairing="all_positive"))
        seen = annotated["box_sounding"] & np.isfinite(annotated["boxes"]).all(axis=-1)
        classes = np.arange(annotated["labels"].shape[1])
        sounding = (seen[..., None] & (annotated["box_label"][..., None] == classes)).any(axis=1)
        rows = pairs.source_pairs(annotated["labels"], sounding, split.videos, self.seed)
        if not len(rows["source"]):
            raise ValueError(
                f"the split {split.name!r} of {split.dataset} has no frame with boxes of several sounding classes that "
                "other clips have alone; leave the evaluator iiou out"
            )
        found = self.pairs(state, names, split=split, pairing="all_positive", rows=rows)
        own = found["box_sounding"] & (found["box_label"] == found["source"][:, None])
        return found | {"boxes": np.where(own[..., None], found["boxes"], np.nan), "box_sounding": own}

    def moments(self, state: TrainState, *, split: built_dataset.Split, items: Sequence[int]) -> Arrays:
        """The heat map of every moment of some clips: image_item, time_ms, heat_map."""
        options = {"items": items, "batch_size": self.batch_size}
        batches = self.preemption.checked(moments.batches(split, self.inputs, self.sampling, **options))
        return collect.collect(self._predict(features.arrays, state, ("heat_map",)), batches)

    def maps(
        self, state: TrainState, name: str, items: Sequence[int], *, split: built_dataset.Split
    ) -> Float32[np.ndarray, "items rows cols channels"]:
        """A map of conv4_2, by its name in `features.MAPS`, of some clips."""
        batches = self.batches(split, pairing="all_positive", items=items)
        return collect.collect(self._predict(features.arrays, state, (name,)), batches)[name]

    def batches(
        self, split: built_dataset.Split, *, inputs: InputSpec | None = None, **options
    ) -> Iterator[tuple[Batch, Arrays]]:
        """Batches of pairs, see `evaluation_pairs.batches`; of other `inputs` where they are given."""
        inputs = self.inputs if inputs is None else inputs
        options |= {"batch_size": self.batch_size, "seed": self.seed}
        return self.preemption.checked(evaluation_pairs.batches(split, inputs, self.sampling, **options))

    def windows(
        self,
        state: TrainState,
        names: Collection[str],
        *,
        splits: Sequence[built_dataset.Split],
        count: int,
        tested: Collection[str],
    ) -> Arrays:
        """Windows of sound of every clip; each split is a fold, numbered from 1.

        Returns:
          The features by window; clip, by window, the number of its clip over all folds; and by clip labels, fold,
          clip_id, and tested: whether its split is among the `tested` ones.
        """
        predict = self._predict(features.of_sounds, state, names)
        folds, clips = [], 0
        for number, split in enumerate(splits, start=1):
            batches = windows.window_batches(split, self.inputs, self.sampling, count=count, batch_size=self.batch_size)
            found = collect.collect(predict, self.preemption.checked(batches))
            by_clip = {name: found.pop(name)[::count] for name in ("labels", "clip_id")}
            by_clip |= {"fold": np.full(len(split), number), "tested": np.full(len(split), split.name in tested)}
            folds.append({**found, "clip": found["clip"] + clips, **by_clip})
            clips += len(split)
        return {name: np.concatenate([fold[name] for fold in folds]) for name in folds[0]}

    def images(self, state: TrainState, names: Collection[str], *, split: images.ImageSplit) -> Arrays:
        """Features of single pictures, in float16 (half of the memory: ImageNet's training split takes 21 GB)."""
        predict = self._predict(features.of_frames, state, names)
        found: Arrays = {}
        done = 0
        batches = images.image_batches(split, self.inputs, batch_size=self.batch_size)
        for frames, rows in self.preemption.checked(batches):
            real = len(rows["labels"])
            half = {name: np.float16(array[:real]) for name, array in placement.to_host(predict(frames)).items()}
            for name, array in (rows | half).items():
                if name not in found:  # whole at once: joining batches at the end would need the memory twice
                    found[name] = np.empty((len(split), *array.shape[1:]), array.dtype)
                found[name][done : done + real] = array
            done += real
        return found

    def _predict(self, function: Callable, state: TrainState, names: Collection[str]) -> Callable:
        """Batch to the named arrays; those of the untrained network by their prefix."""
        passes = []
        for prefix, of_state in (("", state), (features.UNTRAINED, self.initial)):
            wanted = {name for name in names if name.startswith(features.UNTRAINED) == bool(prefix)}
            if wanted:
                own = tuple(sorted(name.removeprefix(prefix) for name in wanted))
                passes.append((prefix, of_state, self._compiled(function, own)))

        def predict(batch) -> dict[str, jax.Array]:
            laid = placement.global_to_devices(self.mesh, batch)
            return {
                prefix + name: array
                for prefix, of_state, compiled in passes
                for name, array in compiled(of_state, laid).items()
            }

        return predict

    @functools.cached_property
    def _compiled(self) -> Callable:
        """Function of the state and a batch, once for each function and each set of names."""
        return functools.cache(
            lambda function, names: jax.jit(functools.partial(function, model=self.model, names=names))
        )
