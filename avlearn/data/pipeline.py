"""The input pipeline: records to batches of NumPy arrays, for training and for evaluation.

    read, sample (some clips at once) -> decode (each clip) -> batch -> pairs -> [workers, batch_per_worker, ...]

What is cut for training is a pure function of (seed, worker, step): a restart at any step, and another division of the
workers over processes, give the same.
"""

import functools
import itertools
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from jaxtyping import Bool, Float32, Int64, UInt8

from avlearn.data import annotations, augment, check, cut, pairs, read, sample
from avlearn.data.augment import Changes, Cuts
from avlearn.data.records import Records
from avlearn.data.sample import Draw, Sampling
from avlearn.media.log_spectrogram import POWER_FLOOR
from avlearn.types import Batch, InputSpec

SILENCE = float(np.float16(np.log(POWER_FLOOR)))  # as records have it
MIDDLE = 0.5  # of a clip's moments
GROUPS_AT_ONCE = 2  # of clips: that is Python mostly, of which one thread runs at a time
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
    check.fits(split, inputs, sampling.offsets_ms, on_grid=sampling.negatives == "on_grid")
    if len(split) < batch_per_worker:
        raise ValueError(
            f"the split {split.name!r} of {split.dataset} has {len(split)} clips, fewer than one worker's batch of "
            f"{batch_per_worker}; use --config.train.batch_per_worker={len(split) // 2 * 2} or less"
        )
    negative = pairs.negative_slots(sampling.pairing, batch_per_worker)
    begun, skip = divmod(first_step, sampling.samples_per_clip)
    plans = functools.partial(_plans, len(split), sampling, seed, num_workers, negative, tuple(workers), begun)
    records = split.records(cut.FEATURES | annotations.label_features(inputs.classes), cut.large(inputs))
    settings = {"inputs": inputs, "sampling": sampling}
    choose, pair_up = (
        read.in_graph(functools.partial(function, records=records, **settings)) for function in (_choose, _pair_up)
    )
    dataset = (
        tf.data.Dataset.from_generator(plans, output_signature=_plan_signature(batch_per_worker, sampling))
        .rebatch(min(batch_per_worker, records.at_once))
        .map(choose, num_parallel_calls=_of_groups(records, sampling))
        .unbatch()
        .map(read.in_graph(functools.partial(_decode, **settings)), num_parallel_calls=threads_of(sampling))
        .batch(batch_per_worker, drop_remainder=True)
        .map(pair_up, num_parallel_calls=GROUPS_AT_ONCE)
    )
    dataset = (
        dataset.batch(len(workers), drop_remainder=True)
        if len(workers) > 1
        else dataset.map(read.in_graph(_one_worker))
    )
    steps = itertools.chain.from_iterable(arrays(dataset.prefetch(2), split, sampling))
    return (Cuts(**fields, changes=Changes(**changes)) for fields, changes in itertools.islice(steps, skip, None))


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
    records = split.records(cut.FEATURES | annotations.FEATURES, cut.large(inputs))
    parts = {"records": records, "inputs": inputs}
    find = functools.partial(_find, **parts, offsets_ms=offsets_ms, num_classes=len(split.class_ids))
    dataset = (
        read.grouped(tf.data.Dataset.from_tensor_slices(rows), records, batch_size)
        .map(read.in_graph(find), num_parallel_calls=_of_groups(records, sampling))
        .unbatch()
        .map(read.in_graph(functools.partial(_show, inputs=inputs)), num_parallel_calls=threads_of(sampling))
        .batch(batch_size)
        .map(read.in_graph(functools.partial(_hear, **parts)), num_parallel_calls=GROUPS_AT_ONCE)
        .prefetch(2)
    )
    scaling = sampling.spectrogram_scaling
    return (_padded(batch, real, scaling, batch_size) for batch, real in arrays(dataset, split, sampling))


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


def _of_groups(records: Records, sampling: Sampling) -> int:
    """How many groups of clips are read at once: of single clips, that are read whole, one on each thread."""
    return threads_of(sampling) if records.at_once == 1 else GROUPS_AT_ONCE


def _choose(plan: dict, *, records: Records, inputs: InputSpec, sampling: Sampling) -> dict:
    """What is seen and heard of some clips, `[clips, ...]`: the pictures, encoded, and the sounds' places."""
    opened = records(plan["clip"])
    seen, heard = sample.choose(opened, plan["draws"], plan["negative"], inputs, sampling)
    return {
        "pictures": {name: records.strings(places) for name, places in seen.items()},
        "sounds": heard,
        "video": read.fingerprint(opened["video_id"]),
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


def _find(
    rows: dict, *, records: Records, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"], num_classes: int
) -> dict:
    """What is seen and heard of some pairs of evaluation, and what is annotated."""
    seen, heard = records(rows["image_item"]), records(rows["audio_item"])
    moment = rows["moment"][:, None]
    frame = sample.moments_at(moment, seen, inputs, offsets_ms)
    there = sample.moments_at(moment, heard, inputs, offsets_ms)
    sound_ms = tf.where(rows["corresponds"][:, None], there.seen_ms, there.sound_ms)
    start = cut.start_column(sound_ms, inputs.columns, inputs.front_end)
    pictures = cut.seen(seen, frame.frame, inputs)
    return {
        "row": rows,
        "pictures": {name: records.strings(places)[:, 0] for name, places in pictures.items()},
        "sounds": {name: places[:, 0] for name, places in cut.heard(heard, start, sound_ms, inputs).items()},
        "video": read.fingerprint(seen["video_id"]),
        "clip_id": seen["clip_id"],
        "frame_ms": frame.frame_ms[:, 0],
        "annotated": annotations.of_clips(seen, num_classes),
        **annotations.labels(seen, inputs.classes),
    }


def _show(found: dict, *, inputs: InputSpec) -> tuple[dict, dict, dict]:
    """One pair of evaluation: fields of a `Batch`, the sounds' places, and the annotations."""
    pictures, sounds, clip_id = found["pictures"], found["sounds"], found["clip_id"]
    window, size = sample.crop_window(pictures["frames"][0], tf.constant(sample.MIDDLE, tf.float64), inputs)
    batch = {
        **cut.view(pictures, window, inputs),
        "corresponds": found["row"]["corresponds"],
        "video": found["video"],
        "weight": tf.ones(()),
        **{name: found[name] for name in ("labels",) if name in found},
    }
    of_frame = annotations.of_frame(found["annotated"], clip_id, found["frame_ms"], window, size)
    return batch, sounds, {**found["row"], "clip_id": clip_id, **of_frame}


def _hear(batch: dict, sounds: dict, real: dict, *, records: Records, inputs: InputSpec) -> tuple[dict, dict]:
    """Adds the sounds to pairs of evaluation."""
    heard = cut.sound(records, sounds, inputs)
    for name, silence in {"log_spectrogram": SILENCE, "waveform": 0}.items():
        if name in heard:
            silent = tf.reshape(real["silent"], [-1] + [1] * (len(heard[name].shape) - 1))
            heard[name] = tf.where(silent, tf.constant(silence, heard[name].dtype), heard[name])
    return {**batch, **heard}, real


def _cut_example(split: read.Split, inputs: InputSpec, item: int) -> tuple[np.ndarray, np.ndarray]:
    draw = tf.constant(sample.MIDDLE, tf.float64)
    records = split.records(cut.FEATURES, cut.large(inputs))
    opened = records(tf.constant([item], tf.int64))
    here = sample.moments_at(draw[None, Draw.MOMENT : Draw.MOMENT + 1], opened, inputs, sample.ALIGNED_MS)
    start = cut.start_column(here.sound_ms, inputs.columns, inputs.front_end)
    (jpeg,) = records.strings(opened["frames"].pick(here.frame))[0]
    window, _ = sample.crop_window(jpeg, draw, inputs)
    pixels = cut.frame(jpeg, window, int(window[2]))
    places = opened["log_spectrogram"].cut(start * cut.COLUMN_BYTES, inputs.columns * cut.COLUMN_BYTES)
    return pixels.numpy(), cut.columns(records, places[0], inputs.columns)[0].numpy().astype(np.float32)


def _padded(batch: dict[str, np.ndarray], real: dict[str, np.ndarray], scaling: str, batch_size: int) -> tuple:
    batch["log_spectrogram"] = augment.as_heard(batch["log_spectrogram"], scaling)
    if "waveform" in batch:
        batch["waveform"] = augment.full_scale(batch["waveform"])
    missing = batch_size - len(batch["weight"])
    fields = {name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for name, array in batch.items()}
    return Batch(**fields), {**real, "clip_id": np.array([name.decode() for name in real["clip_id"]])}


def arrays(dataset: tf.data.Dataset, split: read.Split, sampling: Sampling) -> Iterator:
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


def _elements(held: list[Iterator], split: read.Split) -> Iterator:
    while held:
        with split.explained():
            try:
                element = next(held[0])
            except StopIteration:
                return
        yield element
