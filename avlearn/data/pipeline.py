"""The input pipeline of training, from records to batches of NumPy arrays.

    read, sample (several clips at once) -> decode (each clip) -> batch -> pairs -> [workers, batch_per_worker, ...]

A training batch is a pure function of (seed, worker, step): it depends neither on restarts nor on how the workers are
divided among processes.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import Bool, Int64

from avlearn.data import annotations, built_dataset, cut, graph, iteration, order, pairs, requirements, sample
from avlearn.data.augment import Augmentation, RawBatch
from avlearn.data.records import Records
from avlearn.data.sample import Draw, Sampling
from avlearn.types import InputSpec


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
    """Return the clip numbers of a worker's batch at a step, without reading records."""
    permutation = functools.partial(order.epoch_order, len(split), seed)
    shared = pairs.rows_per_moment(pairing)
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
) -> Iterator[RawBatch]:
    """Return the endless stream of training batches, not yet augmented (see `augment.augment_batch`).

    Args:
      split: split to read clips from.
      inputs: inputs of the network.
      sampling: how pairs are drawn and augmented.
      seed: seed of the order of clips and of every draw.
      num_workers: workers of the algorithm, on all processes together.
      batch_per_worker: pairs of a worker's batch.
      workers: numbers of the workers whose batches this process reads.
      first_step: first step, from 0.

    Yields:
      Arrays `[len(workers), batch_per_worker, ...]`; `corresponds` alternates for `avc` and `shifted`.

    Raises:
      ValueError: the split does not fit `inputs` or is smaller than a worker's batch, or (during iteration) a record is
        damaged or too short.
    """
    check_batches(split, inputs, sampling, batch_per_worker)
    negative = pairs.negative_slots(sampling.pairing, batch_per_worker)
    begun, skip = divmod(first_step, sampling.samples_per_clip)
    plans = functools.partial(_plans, len(split), sampling, seed, num_workers, negative, tuple(workers), begun)
    records = split.records(cut.FEATURES | annotations.label_features(inputs.classes), cut.large_values(inputs))
    settings = {"inputs": inputs, "sampling": sampling}
    choose, pair_up = (
        graph.without_autograph(functools.partial(function, records=records, **settings))
        for function in (_choose, _pair_up)
    )
    dataset = (
        tf.data.Dataset.from_generator(plans, output_signature=_plan_signature(batch_per_worker, sampling))
        .rebatch(min(batch_per_worker, records.max_clips))
        .map(choose, num_parallel_calls=iteration.num_group_threads(records, sampling))
        .unbatch()
        .map(
            graph.without_autograph(functools.partial(_decode, **settings)),
            num_parallel_calls=iteration.num_threads(sampling),
        )
        .batch(batch_per_worker, drop_remainder=True)
        .map(pair_up, num_parallel_calls=iteration.PARALLEL_GROUPS)
    )
    dataset = (
        dataset.batch(len(workers), drop_remainder=True)
        if len(workers) > 1
        else dataset.map(graph.without_autograph(_one_worker))
    )
    steps = itertools.chain.from_iterable(iteration.numpy_elements(dataset.prefetch(2), split, sampling))
    return (
        RawBatch(**fields, augmentation=Augmentation(**changes))
        for fields, changes in itertools.islice(steps, skip, None)
    )


def check_batches(split: built_dataset.Split, inputs: InputSpec, sampling: Sampling, batch_per_worker: int) -> None:
    """Check that training batches can be drawn from a split.

    Raises:
      ValueError: the split does not fit the inputs, is smaller than a worker's batch, or is of one video; or the batch
        cannot be halved.
    """
    requirements.check_split(split, inputs, sampling.offsets_ms, on_grid=sampling.negatives == "on_grid")
    least = pairs.least_batch(sampling.pairing)
    if len(split) < max(least, batch_per_worker):
        possible = len(split) // 2 * 2
        instead = f"use --config.train.batch_per_worker={possible} or less"
        if possible < least:
            instead = f"build more clips: pairing={sampling.pairing!r} needs at least {least}"
        raise ValueError(
            f"the split {split.name!r} of {split.dataset} has {len(split)} clips, fewer than one worker's batch of "
            f"{batch_per_worker}; {instead}"
        )
    pairs.negative_slots(sampling.pairing, batch_per_worker)
    if sampling.pairing in pairs.OF_OTHER_VIDEOS and split.has_one_video:
        raise ValueError(
            f"the {len(split)} clips of the split {split.name!r} of {split.dataset} are all of one video, but with "
            f"pairing={sampling.pairing!r} negatives take the audio of another: use clips of more videos, or "
            "--config.data.pairing=shifted, which pairs the moments of a clip"
        )


def _positions(group: int, worker: int, num_workers: int, batch: int) -> Int64[np.ndarray, " batch"]:
    """Return the positions of a worker's batch in the stream of clips; a group has `samples_per_clip` steps."""
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
    """Yield, for each group of steps and each worker, the clips and the random numbers of each draw from them."""
    permutation = functools.lru_cache(maxsize=2)(functools.partial(order.epoch_order, num_clips, seed))
    shared = pairs.rows_per_moment(sampling.pairing)
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
    """Read the encoded images of clips and locate their audio, `[clips, ...]`."""
    clips = records(plan["clip"])
    images, audio = sample.choose_inputs(clips, plan["draws"], plan["negative"], inputs, sampling)
    return {
        "images": {name: records.strings(locations) for name, locations in images.items()},
        "audio": audio,
        "video": graph.fingerprint(clips["video_id"]),
        "negative": plan["negative"],
        "draws": plan["draws"],
        **annotations.label_fields(clips, inputs.classes),
    }


def _decode(chosen: dict, *, inputs: InputSpec, sampling: Sampling) -> dict:
    """Decode the images of one clip; `decoded` holds those of each draw."""
    images = chosen.pop("images")
    windows, _ = sample.crop_windows(images["frames"][0, 0], chosen["draws"], inputs)
    each = [{name: jpegs[draw] for name, jpegs in images.items()} for draw in range(sampling.samples_per_clip)]
    decoded = tuple(cut.decode_images(encoded, windows[draw], inputs) for draw, encoded in enumerate(each))
    return {**chosen, "decoded": decoded}


def _pair_up(cuts: dict, *, records: Records, inputs: InputSpec, sampling: Sampling) -> tuple[tuple[dict, dict], ...]:
    """Pair the clips of a worker's batch, for each draw: return fields of `RawBatch` and of its `Augmentation`."""
    return tuple(
        _pair_draw(cuts, images, draw, records, inputs, sampling) for draw, images in enumerate(cuts["decoded"])
    )


def _pair_draw(
    cuts: dict, images: dict, draw: int, records: Records, inputs: InputSpec, sampling: Sampling
) -> tuple[dict, dict]:
    uniform = tf.unstack(cuts["draws"][:, draw], axis=1)
    symmetric = [tf.cast(2 * each - 1, tf.float32) for each in uniform]
    other_clip = cuts["negative"] & (sampling.pairing != "shifted")  # shifted pairs keep the audio of their clip
    source = tf.numpy_function(
        pairs.audio_source, [other_clip, cuts["video"], uniform[Draw.PARTNER]], tf.int64, stateful=False
    )
    source = tf.ensure_shape(source, other_clip.shape)
    locations = {name: tf.gather(each[:, draw], source) for name, each in cuts["audio"].items()}
    fields = {
        **images,
        **cut.read_audio(records, locations, inputs),
        "corresponds": ~cuts["negative"],
        "video": cuts["video"],
        # In a batch of one video, negatives have no partner.
        "weight": tf.cast(~other_clip | (source != tf.range(tf.size(source, tf.int64))), tf.float32),
        **{name: cuts[name] for name in ("labels",) if name in cuts},
    }
    changes = {
        "flip": tf.constant(sampling.flip) & (uniform[Draw.FLIP] < 0.5),
        "brightness": sampling.brightness * symmetric[Draw.BRIGHTNESS],
        "saturation": 1 + sampling.saturation * symmetric[Draw.SATURATION],
        "volume": 1 + sampling.volume * symmetric[Draw.VOLUME],
    }
    return fields, changes


def _one_worker(*steps: tuple[dict, dict]) -> tuple[tuple[dict, dict], ...]:
    """Add the axis of the workers, without copying."""
    return tf.nest.map_structure(lambda array: array[None], steps)
