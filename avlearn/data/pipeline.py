"""The input pipeline: records to batches of NumPy arrays, for training and for evaluation.

    read -> sample (each clip) -> batch -> pairs, augment (each worker's batch) -> [workers, batch_per_worker, ...]

A training batch is a pure function of (seed, worker, step): a restart at any step, and another division of the workers
over processes, give the same batches.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from jaxtyping import Bool, Float32, Int64, UInt8

from avlearn.data import annotations, augment, check, cut, pairs, read, sample
from avlearn.data.sample import Draw, Sampling
from avlearn.media.log_spectrogram import POWER_FLOOR
from avlearn.types import Batch, InputSpec

SILENCE = float(np.float16(np.log(POWER_FLOOR)))  # as records have it
MIDDLE = 0.5  # of a clip's moments
PARTNER_STREAM = 2  # keeps evaluation's random pairs apart from the draws of training


def training_clips(
    split: read.Split,
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
    order = functools.partial(read.epoch_order, len(split), seed)
    shared = pairs.sharing(pairing)
    positions = _positions(step // samples_per_clip, worker, num_workers, batch_per_worker // shared)
    return np.repeat(read.clips_at(positions, len(split), order), shared)


def training_batches(
    split: read.Split,
    inputs: InputSpec,
    sampling: Sampling,
    *,
    seed: int,
    num_workers: int,
    batch_per_worker: int,
    workers: Sequence[int],
    first_step: int = 0,
) -> Iterator[Batch]:
    """The endless stream of training batches.

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
    check.fits(split, inputs, sampling.offsets_ms, on_grid=sampling.negatives == "on_grid")
    if len(split) < batch_per_worker:
        raise ValueError(
            f"the split {split.name!r} of {split.dataset} has {len(split)} clips, fewer than one worker's batch of "
            f"{batch_per_worker}; use --config.train.batch_per_worker={len(split) // 2 * 2} or less"
        )
    negative = pairs.negative_slots(sampling.pairing, batch_per_worker)
    begun, skip = divmod(first_step, sampling.samples_per_clip)
    plans = functools.partial(_plans, len(split), sampling, seed, num_workers, negative, tuple(workers), begun)
    features = cut.FEATURES | annotations.label_features(inputs.classes)
    record_at = split.record_at(features, cut.large(inputs))
    cut_one = functools.partial(_cut_clip, record_at=record_at, inputs=inputs, sampling=sampling)
    threads = threads_of(sampling)

    def pair_up(*draws: dict) -> tuple[dict, ...]:
        paired = tuple(_pair_up(cuts, inputs, sampling) for cuts in draws)
        return paired if len(workers) > 1 else tf.nest.map_structure(lambda array: array[None], paired)

    dataset = (
        tf.data.Dataset.from_generator(plans, output_signature=_plan_signature(batch_per_worker, sampling))
        .unbatch()
        .map(read.in_graph(cut_one), num_parallel_calls=threads)
        .batch(batch_per_worker, drop_remainder=True)
        .map(read.in_graph(pair_up), num_parallel_calls=threads)
    )
    if len(workers) > 1:  # of one, `pair_up` adds the axis, without a copy
        dataset = dataset.batch(len(workers), drop_remainder=True)
    steps = itertools.chain.from_iterable(arrays(dataset.prefetch(2), split, sampling))
    return (Batch(**fields) for fields in itertools.islice(steps, skip, None))


def evaluation_batches(
    split: read.Split,
    inputs: InputSpec,
    sampling: Sampling,
    *,
    pairing: str,
    batch_size: int,
    seed: int = 0,
    items: Sequence[int] | slice | None = None,
    draws: int = 1,
    rows: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """One pass over a split, nothing left out and nothing repeated: middle frames, their own sound, centre crops.

    Args:
      split: what to cover.
      inputs: what the network eats.
      sampling: of it, the scaling of the log-spectrogram, the shift and the threads are used.
      pairing: `all_positive`, each clip once; `avc`, each clip's positive, then each clip's frame with the sound of
        a clip of another video (each sound once; again for every further draw, with another sound for each frame);
        `negatives`, the rows of `avc`, then each clip's frame with silence; or `shifted`, a moment of each clip with
        its own sound, then with that of another moment of the clip, both drawn at random.
      batch_size: rows of a batch; the last one is padded with zeros at weight 0.
      seed: of the choice of negatives and of shifted moments.
      items: clips whose frames are wanted here (for evaluation on several hosts); all by default.
      draws: of `avc`: how many other sounds each frame meets.
      rows: image_item and audio_item of the pairs that are wanted in place of those of `pairing`; what else it holds is
        passed through.

    Yields:
      A batch, and for its real rows: corresponds, image_item, audio_item, clip_id, pair_draw (number of the draw, -1 of
      a positive), silent (the sound is digital silence) and the arrays of `annotations.of_frame`.

    Raises:
      ValueError: no such pairing, the split does not fit `inputs`, or (while reading) a record is damaged or too short.
    """
    offsets_ms = sampling.shifts_ms if pairing == "shifted" else sample.ALIGNED_MS
    check.fits(split, inputs, offsets_ms)
    rows = _evaluation_rows(split, pairing, seed, items, draws) if rows is None else _given_rows(rows)
    cut_one = functools.partial(
        _cut_row,
        record_at=split.record_at(cut.FEATURES | annotations.FEATURES, cut.large(inputs)),
        inputs=inputs,
        scaling=sampling.spectrogram_scaling,
        offsets_ms=offsets_ms,
        num_classes=len(split.class_ids),
    )
    dataset = (
        tf.data.Dataset.from_tensor_slices(rows)
        .map(read.in_graph(cut_one), num_parallel_calls=threads_of(sampling))
        .batch(batch_size)
        .prefetch(2)
    )
    return (_padded(batch, real, batch_size) for batch, real in arrays(dataset, split, sampling))


def examples(
    split: read.Split, inputs: InputSpec, items: Sequence[int]
) -> tuple[UInt8[np.ndarray, "items height width 3"], Float32[np.ndarray, "items columns bins"]]:
    """What evaluation sees and hears of some clips, at the records' resolution, for pictures and playable sound.

    Returns:
      Crops, all enlarged to the largest, and the natural log of power, neither scaled nor pooled.

    Raises:
      ValueError: the split does not fit `inputs`, or one of the clips is too short.
    """
    check.stored(split, inputs)
    with split.explained():
        cuts = [_cut_example(split, inputs, item) for item in items]
    side = max(frame.shape[0] for frame, _ in cuts)
    frames = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame, _ in cuts]
    return np.stack(frames), np.stack([sound for _, sound in cuts])


def threads_of(sampling: Sampling) -> int:
    """Threads of the input pipeline."""
    return sampling.threads if sampling.threads > 0 else os.cpu_count()


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
    order = functools.lru_cache(maxsize=2)(functools.partial(read.epoch_order, num_clips, seed))
    shared = pairs.sharing(sampling.pairing)
    cuts = len(negative) // shared
    while True:
        steps = range(group * sampling.samples_per_clip, (group + 1) * sampling.samples_per_clip)
        for worker in workers:
            positions = _positions(group, worker, num_workers, cuts)
            clip = np.repeat(read.clips_at(positions, num_clips, order), shared)
            draws = np.stack([sample.draws(seed, worker, step, cuts) for step in steps], axis=1)
            yield {"clip": clip, "negative": negative, "draws": np.repeat(draws, shared, axis=0)}
        group += 1


def _plan_signature(batch: int, sampling: Sampling) -> dict[str, tf.TensorSpec]:
    return {
        "clip": tf.TensorSpec((batch,), tf.int64),
        "negative": tf.TensorSpec((batch,), tf.bool),
        "draws": tf.TensorSpec((batch, sampling.samples_per_clip, len(Draw)), tf.float64),
    }


def _cut_clip(
    plan: dict, *, record_at: Callable, inputs: InputSpec, sampling: Sampling
) -> tuple[dict[str, tf.Tensor], ...]:
    """Reads a clip once, and cuts a frame and a sound for each draw."""
    record = record_at(plan["clip"])
    labels = annotations.labels(record, inputs.classes)
    cuts = sample.cut_pairs(record, plan["draws"], plan["negative"], inputs, sampling)
    return tuple(each | labels for each in cuts)


def _pair_up(cuts: dict[str, tf.Tensor], inputs: InputSpec, sampling: Sampling) -> dict[str, tf.Tensor]:
    """Cuts of a worker's batch to its pairs, as the fields of a `Batch`."""
    draw = tf.unstack(cuts["draw"], axis=1)
    around = [2 * uniform - 1 for uniform in draw]
    flip = tf.constant(sampling.flip) & (draw[Draw.FLIP] < 0.5)
    # Frames of one pair are changed alike: they stand one below the other, as one tall picture.
    tall = tf.reshape(cuts["frames"], (cuts["frames"].shape[0], -1, inputs.frame_pixels, 3))
    jittered = tf.numpy_function(
        augment.jitter,
        [tall, flip, sampling.brightness * around[Draw.BRIGHTNESS], 1 + sampling.saturation * around[Draw.SATURATION]],
        tf.uint8,
        stateful=False,
    )
    elsewhere = cuts["negative"] & (sampling.pairing != "shifted")  # shifted pairs hear their own clip
    source = tf.numpy_function(pairs.sound_of, [elsewhere, cuts["video"], draw[Draw.PARTNER]], tf.int64, stateful=False)
    volume = 1 + sampling.volume * around[Draw.VOLUME]
    heard = augment.change_volume(tf.gather(cuts["sound"], source), volume)
    fields = {
        "frames": tf.reshape(jittered, cuts["frames"].shape),
        "log_spectrogram": augment.SCALINGS[sampling.spectrogram_scaling](heard),
        "corresponds": ~cuts["negative"],
        "video": cuts["video"],
        "weight": tf.ones_like(cuts["video"], tf.float32),
        **{name: cuts[name] for name in ("labels",) if name in cuts},
    }
    if "flow" in cuts:
        fields["flow"] = augment.flip_flow(cuts["flow"], flip)
    if "waveform" in cuts:
        fields["waveform"] = tf.gather(cuts["waveform"], source) * tf.cast(volume, tf.float32)[:, None]
    return fields


def _evaluation_rows(
    split: read.Split, pairing: str, seed: int, items: Sequence[int] | slice | None, draws: int
) -> dict[str, np.ndarray]:
    if pairing not in pairs.EVALUATION_PAIRINGS:
        raise ValueError(f"pairing={pairing!r} is unknown; evaluation has {', '.join(pairs.EVALUATION_PAIRINGS)}")
    everything = np.arange(len(split))
    image = everything if items is None else everything[items]
    chance = np.random.default_rng((seed, PARTNER_STREAM)).random(len(split))
    sounds = [image]
    if pairing == "shifted":
        sounds.append(image)
    elif pairing != "all_positive":
        sounds += list(pairs.several_partners(split.videos, chance, draws)[:, image])
    if pairing == "negatives":
        sounds.append(image)
    pair_draw = np.repeat(np.arange(-1, len(sounds) - 1), len(image))
    moment = chance[image] if pairing == "shifted" else np.full(len(image), MIDDLE)
    return {
        "image_item": np.tile(image, len(sounds)),
        "audio_item": np.concatenate(sounds),
        "corresponds": pair_draw < 0,
        "pair_draw": pair_draw,
        "silent": (pair_draw == draws) & (pairing == "negatives"),
        "moment": np.tile(moment, len(sounds)),
    }


def _given_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    own = rows["image_item"] == rows["audio_item"]
    middle = {"silent": np.zeros(len(own), bool), "moment": np.full(len(own), MIDDLE)}
    return {"corresponds": own, "pair_draw": np.where(own, -1, 0), **middle, **rows}


def _cut_row(
    row: dict,
    *,
    record_at: Callable,
    inputs: InputSpec,
    scaling: str,
    offsets_ms: Int64[np.ndarray, " offsets"],
    num_classes: int,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """One pair of evaluation: the fields of a `Batch`, and the annotations."""
    draw = tf.constant(sample.MIDDLE, tf.float64)
    seen, heard = record_at(row["image_item"]), record_at(row["audio_item"])
    frame = sample.moment(row["moment"], seen, inputs, offsets_ms).frame
    there = sample.moment(row["moment"], heard, inputs, offsets_ms)
    sound_ms = tf.where(row["corresponds"], there.seen_ms, there.sound_ms)
    start = cut.start_column(sound_ms, inputs.columns, inputs.front_end)
    window, size = sample.crop_window(seen["frames"][frame], draw, inputs)
    cuts = {**cut.view(seen, frame, window, inputs), **cut.sound(heard, start, sound_ms, inputs)}
    for name, silence in {"sound": SILENCE, "waveform": 0.0}.items():
        if name in cuts:
            cuts[name] = tf.where(row["silent"], silence, cuts[name])
    batch = {
        "log_spectrogram": augment.SCALINGS[scaling](cuts.pop("sound")),
        **cuts,
        "corresponds": row["corresponds"],
        "video": read.fingerprint(seen["video_id"]),
        "weight": tf.ones(()),
        **annotations.labels(seen, inputs.classes),
    }
    of_frame = annotations.of_frame(seen, seen["frame_times_ms"][frame], window, size, num_classes)
    return batch, {**row, "clip_id": seen["clip_id"], **of_frame}


def _cut_example(split: read.Split, inputs: InputSpec, item: int) -> tuple[np.ndarray, np.ndarray]:
    draw = tf.constant(sample.MIDDLE, tf.float64)
    record = split.record_at(cut.FEATURES, cut.large(inputs))(tf.constant(item, tf.int64))
    here = sample.moment(draw[Draw.MOMENT], record, inputs, sample.ALIGNED_MS)
    start = cut.start_column(here.sound_ms, inputs.columns, inputs.front_end)
    window, _ = sample.crop_window(record["frames"][here.frame], draw, inputs)
    pixels = cut.frame(record["frames"][here.frame], window, int(window[2]))
    return pixels.numpy(), cut.columns(record, start, inputs).numpy()


def _padded(batch: dict[str, np.ndarray], real: dict[str, np.ndarray], batch_size: int) -> tuple[Batch, dict]:
    missing = batch_size - len(batch["weight"])
    fields = {name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for name, array in batch.items()}
    return Batch(**fields), {**real, "clip_id": np.array([name.decode() for name in real["clip_id"]])}


def arrays(dataset: tf.data.Dataset, split: read.Split, sampling: Sampling) -> Iterator:
    """The dataset's elements as NumPy arrays."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = sampling.threads  # 0: as many as there are cores
    options.threading.max_intra_op_parallelism = 1
    with split.explained():
        yield from dataset.with_options(options).as_numpy_iterator()
