"""The input pipeline of training, records to batches of NumPy arrays, and what other passes over a split share.

    read, sample (some clips at once) -> decode (each clip) -> batch -> pairs -> [workers, batch_per_worker, ...]

What is cut for training is a pure function of (seed, worker, step): a restart at any step, and another division of the
workers over processes, give the same.
"""

import functools
import itertools
import os
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Bool, Int64

from avlearn.data import annotations, built_dataset, cut, graph, order, pairs, requirements, sample
from avlearn.data.augment import Changes, Cuts
from avlearn.data.records import Records
from avlearn.data.sample import Draw, Sampling
from avlearn.types import InputSpec

GROUPS_AT_ONCE = 2  # of clips: that is Python mostly, of which one thread runs at a time


def training_clips(
    split: built_dataset.Split,
    *,
    seed: int,
    num_workers: int,
    batch_per_worker: int,
    samples_per_clip: int,
    pairing: str,
    worker: int,
    step: int,
) -> Int64[np.ndarray, " batch_per_worker"]:
    """Clip numbers of a worker's batch at a step, without reading: its share of the endless stream of epochs."""
    permutation = functools.partial(order.epoch_order, len(split), seed)
    shared = pairs.sharing(pairing)
    positions = _positions(step // samples_per_clip, worker, num_workers, batch_per_worker // shared)
    return np.repeat(order.clips_at(positions, len(split), permutation), shared)


def training_batches(
    split: built_dataset.Split,
    inputs: InputSpec,
    sampling: Sampling,
    *,
    seed: int,
    num_workers: int,
    batch_per_worker: int,
    workers: Sequence[int],
    first_step: int = 0,
) -> Iterator[Cuts]:
    """The endless stream of training batches, not yet augmented (`augment.augmented` does it, on the devices).

    Args:
      split: where clips come from.
      inputs: what the network eats.
      sampling: how pairs are drawn and changed.
      seed: of the order and of every draw.
      num_workers: of the algorithm, on all processes together.
      batch_per_worker: pairs.
      workers: numbers of the workers whose batches are wanted here.
      first_step: step to begin with.

    Yields:
      Arrays `[len(workers), batch_per_worker, ...]`; `corresponds` alternates for `avc` and `shifted`.

    Raises:
      ValueError: the split does not fit `inputs` or is smaller than a worker's batch, or (while reading) a record is
        damaged or too short.
    """
    check_split(split, inputs, sampling, batch_per_worker)
    negative = pairs.negative_slots(sampling.pairing, batch_per_worker)
    begun, skip = divmod(first_step, sampling.samples_per_clip)
    plans = functools.partial(_plans, len(split), sampling, seed, num_workers, negative, tuple(workers), begun)
    records = split.records(cut.FEATURES | annotations.label_features(inputs.classes), cut.large(inputs))
    settings = {"inputs": inputs, "sampling": sampling}
    choose, pair_up = (
        graph.in_graph(functools.partial(function, records=records, **settings)) for function in (_choose, _pair_up)
    )
    dataset = (
        tf.data.Dataset.from_generator(plans, output_signature=_plan_signature(batch_per_worker, sampling))
        .rebatch(min(batch_per_worker, records.at_once))
        .map(choose, num_parallel_calls=threads_of_groups(records, sampling))
        .unbatch()
        .map(graph.in_graph(functools.partial(_decode, **settings)), num_parallel_calls=threads_of(sampling))
        .batch(batch_per_worker, drop_remainder=True)
        .map(pair_up, num_parallel_calls=GROUPS_AT_ONCE)
    )
    dataset = (
        dataset.batch(len(workers), drop_remainder=True)
        if len(workers) > 1
        else dataset.map(graph.in_graph(_one_worker))
    )
    steps = itertools.chain.from_iterable(arrays(dataset.prefetch(2), split, sampling))
    return (Cuts(**fields, changes=Changes(**changes)) for fields, changes in itertools.islice(steps, skip, None))


def check_split(split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, batch_per_worker: int) -> None:
    """Check that batches can be drawn from a split.

    Raises:
      ValueError: the split does not fit the inputs or is smaller than a worker's batch, or the batch has no half.
    """
    requirements.fits(split, inputs, sampling.offsets_ms, on_grid=sampling.negatives == "on_grid")
    if len(split) < batch_per_worker:
        raise ValueError(
            f"the split {split.name!r} of {split.dataset} has {len(split)} clips, fewer than one worker's batch of "
            f"{batch_per_worker}; use --config.train.batch_per_worker={len(split) // 2 * 2} or less"
        )
    pairs.negative_slots(sampling.pairing, batch_per_worker)


def threads_of(sampling: Sampling) -> int:
    """Threads of the input pipeline."""
    return sampling.threads if sampling.threads > 0 else os.cpu_count()


def threads_of_groups(records: Records, sampling: Sampling) -> int:
    """How many groups of clips are read at once: of single clips, that are read whole, one on each thread."""
    return threads_of(sampling) if records.at_once == 1 else GROUPS_AT_ONCE


def arrays(dataset: tf.data.Dataset, split: built_dataset.Split, sampling: Sampling) -> Iterator:
    """The dataset's elements as NumPy arrays."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = sampling.threads  # 0: as many as there are cores
    options.threading.max_intra_op_parallelism = 1
    held = [dataset.with_options(options).as_numpy_iterator()]
    elements = _elements(held, split)
    # Given up while Python still runs: later its threads would wait for Python, and Python's end for them, for ever.
    weakref.finalize(elements, held.clear)
    return elements


def _positions(group: int, worker: int, num_workers: int, batch: int) -> Int64[np.ndarray, " batch"]:
    """Places of a worker's batch in the stream of clips; a group is as many steps as there are draws from a clip."""
    return (group * num_workers + worker) * batch + np.arange(batch)


def _plans(
    num_clips: int,
    sampling: Sampling,
    seed: int,
    num_workers: int,
    negative: Bool[np.ndarray, " batch"],
    workers: Sequence[int],
    group: int,
) -> Iterator[dict[str, np.ndarray]]:
    """For each group of steps and each worker: clips, and for each draw from a clip its random numbers."""
    permutation = functools.lru_cache(maxsize=2)(functools.partial(order.epoch_order, num_clips, seed))
    shared = pairs.sharing(sampling.pairing)
    cuts = len(negative) // shared
    while True:
        steps = range(group * sampling.samples_per_clip, (group + 1) * sampling.samples_per_clip)
        for worker in workers:
            positions = _positions(group, worker, num_workers, cuts)
            clip = np.repeat(order.clips_at(positions, num_clips, permutation), shared)
            draws = np.stack([sample.draws(seed, worker, step, cuts) for step in steps], axis=1)
            yield {"clip": clip, "negative": negative, "draws": np.repeat(draws, shared, axis=0)}
        group += 1


def _plan_signature(batch: int, sampling: Sampling) -> dict[str, tf.TensorSpec]:
    return {
        "clip": tf.TensorSpec((batch,), tf.int64),
        "negative": tf.TensorSpec((batch,), tf.bool),
        "draws": tf.TensorSpec((batch, sampling.samples_per_clip, len(Draw)), tf.float64),
    }


def _choose(plan: dict, *, records: Records, inputs: InputSpec, sampling: Sampling) -> dict:
    """What is seen and heard of some clips, `[clips, ...]`: the pictures, encoded, and the sounds' places."""
    opened = records(plan["clip"])
    seen, heard = sample.choose(opened, plan["draws"], plan["negative"], inputs, sampling)
    return {
        "pictures": {name: records.strings(places) for name, places in seen.items()},
        "sounds": heard,
        "video": graph.fingerprint(opened["video_id"]),
        "negative": plan["negative"],
        "draws": plan["draws"],
        **annotations.labels(opened, inputs.classes),
    }


def _decode(chosen: dict, *, inputs: InputSpec, sampling: Sampling) -> dict:
    """Decodes the pictures of one clip; `shown` holds those of each draw."""
    pictures = chosen.pop("pictures")
    windows, _ = sample.crop_windows(pictures["frames"][0, 0], chosen["draws"], inputs)
    each = [{name: of[draw] for name, of in pictures.items()} for draw in range(sampling.samples_per_clip)]
    shown = tuple(cut.view(seen, windows[draw], inputs) for draw, seen in enumerate(each))
    return {**chosen, "shown": shown}


def _pair_up(cuts: dict, *, records: Records, inputs: InputSpec, sampling: Sampling) -> tuple[tuple[dict, dict], ...]:
    """For each draw, clips of a worker's batch to its pairs: the fields of `Cuts` and of its `Changes`."""
    return tuple(_paired(cuts, shown, draw, records, inputs, sampling) for draw, shown in enumerate(cuts["shown"]))


def _paired(
    cuts: dict, shown: dict, draw: int, records: Records, inputs: InputSpec, sampling: Sampling
) -> tuple[dict, dict]:
    uniform = tf.unstack(cuts["draws"][:, draw], axis=1)
    around = [tf.cast(2 * each - 1, tf.float32) for each in uniform]
    elsewhere = cuts["negative"] & (sampling.pairing != "shifted")  # shifted pairs hear their own clip
    source = tf.numpy_function(
        pairs.sound_of, [elsewhere, cuts["video"], uniform[Draw.PARTNER]], tf.int64, stateful=False
    )
    source = tf.ensure_shape(source, elsewhere.shape)
    fields = {
        **shown,
        **cut.sound(records, {name: tf.gather(of[:, draw], source) for name, of in cuts["sounds"].items()}, inputs),
        "corresponds": ~cuts["negative"],
        "video": cuts["video"],
        "weight": tf.ones_like(cuts["video"], tf.float32),
        **{name: cuts[name] for name in ("labels",) if name in cuts},
    }
    changes = {
        "flip": tf.constant(sampling.flip) & (uniform[Draw.FLIP] < 0.5),
        "brightness": sampling.brightness * around[Draw.BRIGHTNESS],
        "saturation": 1 + sampling.saturation * around[Draw.SATURATION],
        "volume": 1 + sampling.volume * around[Draw.VOLUME],
    }
    return fields, changes


def _one_worker(*steps: tuple[dict, dict]) -> tuple[tuple[dict, dict], ...]:
    """Adds the axis of the workers, without a copy."""
    return tf.nest.map_structure(lambda array: array[None], steps)


def _elements(held: list[Iterator], split: built_dataset.Split) -> Iterator:
    while held:
        with split.explained():
            try:
                element = next(held[0])
            except StopIteration:
                return
        yield element
