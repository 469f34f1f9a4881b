"""Pairs of evaluation: a split's middle frames with their own sound, with another clip's, or at another moment."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int64, UInt8

from avlearn.data import annotations, augment, built_dataset, cut, graph, pairs, pipeline, requirements, sample
from avlearn.data.records import Records
from avlearn.data.sample import Draw, Sampling
from avlearn.media.log_spectrogram import POWER_FLOOR
from avlearn.types import Batch, InputSpec

SILENCE = float(np.float16(np.log(POWER_FLOOR)))  # as records have it
MIDDLE_MOMENT = 0.5  # of a clip's
PARTNER_STREAM = 2  # keeps evaluation's random pairs apart from the draws of training


def batches(
    split: built_dataset.Split,
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
    requirements.fits(split, inputs, offsets_ms)
    rows = _rows(split, pairing, seed, items, draws) if rows is None else _given_rows(rows)
    records = split.records(cut.FEATURES | annotations.FEATURES, cut.large(inputs))
    parts = {"records": records, "inputs": inputs}
    find = functools.partial(_find, **parts, offsets_ms=offsets_ms, num_classes=len(split.class_ids))
    dataset = (
        graph.grouped(tf.data.Dataset.from_tensor_slices(rows), records, batch_size)
        .map(graph.in_graph(find), num_parallel_calls=pipeline.threads_of_groups(records, sampling))
        .unbatch()
        .map(graph.in_graph(functools.partial(_show, inputs=inputs)), num_parallel_calls=pipeline.threads_of(sampling))
        .batch(batch_size)
        .map(graph.in_graph(functools.partial(_hear, **parts)), num_parallel_calls=pipeline.GROUPS_AT_ONCE)
        .prefetch(2)
    )
    scaling = sampling.spectrogram_scaling
    return (_padded(batch, real, scaling, batch_size) for batch, real in pipeline.arrays(dataset, split, sampling))


def examples(
    split: built_dataset.Split, inputs: InputSpec, items: Sequence[int]
) -> tuple[UInt8[np.ndarray, "items height width 3"], Float32[np.ndarray, "items columns bins"]]:
    """What evaluation sees and hears of some clips, at the records' resolution, for pictures and playable sound.

    Returns:
      Crops, all enlarged to the largest, and the natural log of power, neither scaled nor pooled.

    Raises:
      ValueError: the split does not fit `inputs`, or one of the clips is too short.
    """
    requirements.stored(split, inputs)
    with split.explained():
        cuts = [_cut_example(split, inputs, item) for item in items]
    side = max(frame.shape[0] for frame, _ in cuts)
    frames = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame, _ in cuts]
    return np.stack(frames), np.stack([sound for _, sound in cuts])


def _rows(
    split: built_dataset.Split, pairing: str, seed: int, items: Sequence[int] | slice | None, draws: int
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
    moment = chance[image] if pairing == "shifted" else np.full(len(image), MIDDLE_MOMENT)
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
    middle = {"silent": np.zeros(len(own), bool), "moment": np.full(len(own), MIDDLE_MOMENT)}
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
        "video": graph.fingerprint(seen["video_id"]),
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


def _cut_example(split: built_dataset.Split, inputs: InputSpec, item: int) -> tuple[np.ndarray, np.ndarray]:
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
    batch |= augment.as_heard(batch, scaling)
    missing = batch_size - len(batch["weight"])
    fields = {name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for name, array in batch.items()}
    return Batch(**fields), {**real, "clip_id": np.array([name.decode() for name in real["clip_id"]])}
