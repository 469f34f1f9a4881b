"""Forward passes of a network over pairs, windows of audio, and images, which produce the evaluation arrays."""

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
    """Forward passes of one network; each method takes a state and the names of the wanted arrays.

    Attributes:
      model: model in evaluation mode.
      outputs: names of its outputs for pairs, which are always collected.
      initial: its state at step 0, for the arrays of the untrained network.
      inputs: inputs that it takes.
      sampling: sampling settings; the spectrogram's scaling, the shift and the threads are used.
      mesh: devices to run on.
      batch_size: rows of a batch, a multiple of the number of devices.
      seed: seed of the choice of negatives.
      preemption: listener for SIGTERM between batches.
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
        """Collect every output of the network and the named arrays for pairs (`options` as for `batches`)."""
        batches = self.batches(split, **options)
        return collect.collect(self._predict(features.arrays, state, self.outputs | set(names)), batches)

    def single_sources(self, state: TrainState, names: Collection[str], *, split: built_dataset.Split) -> Arrays:
        """Collect arrays for frames with several sounding objects, paired with audio in which one of them is alone.

        Returns:
          Arrays as from `pairs`, with only the boxes of the object that is heard, and source, its class.
        """
        annotated = collect.collect(lambda _: {}, self.batches(split, pairing="all_positive"))
        visible = annotated["box_sounding"] & np.isfinite(annotated["boxes"]).all(axis=-1)
        classes = np.arange(annotated["labels"].shape[1])
        sounding = (visible[..., None] & (annotated["box_label"][..., None] == classes)).any(axis=1)
        rows = pairs.source_pairs(annotated["labels"], sounding, split.videos, self.seed)
        if not len(rows["source"]):
            raise ValueError(
                f"the split {split.name!r} of {split.dataset} has no frame with boxes of several sounding classes that "
                "other clips have alone; leave out the evaluator iiou"
            )
        found = self.pairs(state, names, split=split, pairing="all_positive", rows=rows)
        own = found["box_sounding"] & (found["box_label"] == found["source"][:, None])
        return found | {"boxes": np.where(own[..., None], found["boxes"], np.nan), "box_sounding": own}

    def moments(self, state: TrainState, *, split: built_dataset.Split, items: Sequence[int]) -> Arrays:
        """Collect the heat map of every moment of some clips: image_item, time_ms, heat_map."""
        options = {"items": items, "batch_size": self.batch_size}
        batches = self.preemption.checked(moments.batches(split, self.inputs, self.sampling, **options))
        return collect.collect(self._predict(features.arrays, state, ("heat_map",)), batches)

    def maps(
        self, state: TrainState, name: str, items: Sequence[int], *, split: built_dataset.Split
    ) -> Float32[np.ndarray, "items rows cols channels"]:
        """Collect a map of conv4_2, by its name in `features.MAPS`, for some clips."""
        batches = self.batches(split, pairing="all_positive", items=items)
        return collect.collect(self._predict(features.arrays, state, (name,)), batches)[name]

    def batches(
        self, split: built_dataset.Split, *, inputs: InputSpec | None = None, **options
    ) -> Iterator[tuple[Batch, Arrays]]:
        """Yield batches of pairs, see `evaluation_pairs.batches`; `inputs` replaces those of the network."""
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
        """Collect features of audio windows of every clip; each split is a fold, numbered from 1.

        Returns:
          One row per window: the features, and clip, the number of its clip over all folds. One row per clip: labels,
          fold, clip_id, and tested: whether its split is among `tested`.
        """
        predict = self._predict(features.of_audio, state, names)
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
        """Collect features of single images, in float16 to save memory (ImageNet's training split takes 21 GB)."""
        predict = self._predict(features.of_frames, state, names)
        found: Arrays = {}
        done = 0
        batches = images.image_batches(split, self.inputs, batch_size=self.batch_size)
        for frames, rows in self.preemption.checked(batches):
            real = len(rows["labels"])
            half = {name: np.float16(array[:real]) for name, array in placement.to_host(predict(frames)).items()}
            for name, array in (rows | half).items():
                if name not in found:  # allocate once: concatenating batches at the end would need twice the memory
                    found[name] = np.empty((len(split), *array.shape[1:]), array.dtype)
                found[name][done : done + real] = array
            done += real
        return found

    def _predict(self, function: Callable, state: TrainState, names: Collection[str]) -> Callable:
        """Return the function from a batch to the named arrays; a prefix marks those of the untrained network."""
        passes = []
        for prefix, values in (("", state), (features.UNTRAINED, self.initial)):
            wanted = {name for name in names if name.startswith(features.UNTRAINED) == bool(prefix)}
            if wanted:
                own = tuple(sorted(name.removeprefix(prefix) for name in wanted))
                passes.append((prefix, values, self._compiled(function, own)))

        def predict(batch) -> dict[str, jax.Array]:
            on_devices = placement.global_to_devices(self.mesh, batch)
            return {
                prefix + name: array
                for prefix, values, compiled in passes
                for name, array in compiled(values, on_devices).items()
            }

        return predict

    @functools.cached_property
    def _compiled(self) -> Callable:
        """Compiles a function of state and batch, once for each function and set of names."""
        return functools.cache(
            lambda function, names: jax.jit(functools.partial(function, model=self.model, names=names))
        )
