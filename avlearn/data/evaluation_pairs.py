"""Evaluation pairs: middle frames of a split with their own audio, with another clip's, or with another moment's."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int, Int64, UInt8

from avlearn.data import annotations, augment, built_dataset, cut, graph, iteration, pairs, requirements, sample
from avlearn.data.records import Records
from avlearn.data.sample import Draw, Sampling
from avlearn.media.log_spectrogram import POWER_FLOOR
from avlearn.types import Batch, InputSpec

SILENCE = float(np.float16(np.log(POWER_FLOOR)))  # as stored in records
MIDDLE_MOMENT = 0.5
MANY_CLIPS = 1000  # more than enough for any number of negatives
PARTNER_STREAM = 2  # random stream; training uses others


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
    """Yield the evaluation pairs of a split, each exactly once, with centre crops.

    Args:
      split: split to cover.
      inputs: inputs of the network.
      sampling: the scaling of the log-spectrogram, the shift and the threads are used.
      pairing: `all_positive`: each clip once. `avc`: each clip's positive, then each clip's frame with the audio of a
        clip of another video; each draw uses all audio once, and each frame gets other audio in each draw.
        `negatives`: the rows of `avc`, then each clip's frame with silence. `shifted`: a random moment of each clip
        with its own audio, then the same frame with the audio of another random moment of the clip.
      batch_size: rows of a batch; the last batch is padded with zeros of weight 0.
      seed: seed of the negatives and of the shifted moments.
      items: clips whose frames this process evaluates; default: all.
      draws: number of negatives of each frame, for `avc`.
      rows: image_item and audio_item of pairs, which replace those of `pairing`; other arrays in it are passed through.

    Yields:
      A batch, and for its real rows: corresponds, image_item, audio_item, clip_id, pair_draw (number of the draw; -1
      for positives), silent (whether the audio is digital silence) and the arrays of `annotations.frame_annotations`.

    Raises:
      ValueError: the pairing is unknown, the split does not fit `inputs`, or (during iteration) a record is damaged or
        too short.
    """
    offsets_ms = sampling.shifts_ms if pairing == "shifted" else sample.ALIGNED_MS
    requirements.check_split(split, inputs, offsets_ms)
    rows = _rows(split, pairing, seed, items, draws) if rows is None else _given_rows(rows)
    records = split.records(cut.FEATURES | annotations.FEATURES, cut.large_values(inputs))
    readers = {"records": records, "inputs": inputs}
    locate = functools.partial(_locate, **readers, offsets_ms=offsets_ms, num_classes=len(split.class_ids))
    dataset = (
        graph.group_clips(tf.data.Dataset.from_tensor_slices(rows), records, batch_size)
        .map(graph.without_autograph(locate), num_parallel_calls=iteration.num_group_threads(records, sampling))
        .unbatch()
        .map(
            graph.without_autograph(functools.partial(_decode, inputs=inputs)),
            num_parallel_calls=iteration.num_threads(sampling),
        )
        .batch(batch_size)
        .map(
            graph.without_autograph(functools.partial(_read_audio, **readers)),
            num_parallel_calls=iteration.PARALLEL_GROUPS,
        )
        .prefetch(2)
    )
    scaling = sampling.spectrogram_scaling
    return (
        _pad(batch, real, scaling, batch_size) for batch, real in iteration.numpy_elements(dataset, split, sampling)
    )


def partner_groups(split: built_dataset.Split) -> Int[np.ndarray, " clips"]:
    """Return the group of each clip, whose audio is never that of a negative: its video, or itself if there is one."""
    return np.arange(len(split)) if split.has_one_video else split.videos


def possible_negatives(split: built_dataset.Split, wanted: int = 1) -> tuple[int, str]:
    """Return how many negatives each frame of a split can have, at most those wanted, and what is special about them.

    What is special, for results and messages, is empty if there are enough videos. Of a large split without tables of
    contents this is assumed, since reading its videos takes as long as reading all of it.

    Raises:
      ValueError: the split has a single clip, and so no negatives.
    """
    if len(split) > MANY_CLIPS and split.entry_offset is None:
        return wanted, ""
    if len(split) == 1:
        raise ValueError(f"the split {split.name!r} of {split.dataset} has a single clip, and no other for a negative")
    groups = partner_groups(split)
    draws = min(wanted, pairs.most_draws(groups))
    if split.has_one_video:
        return draws, "negatives with the audio of other clips of the one video"
    most = np.unique(groups, return_counts=True)[1].max()
    return draws, "negatives that share audio, since most clips are of one video" if 2 * most > len(split) else ""


def examples(
    split: built_dataset.Split, inputs: InputSpec, items: Sequence[int]
) -> tuple[UInt8[np.ndarray, "items height width 3"], Float32[np.ndarray, "items columns bins"]]:
    """Return evaluation's images and audio at the resolution of the records, for display and playback.

    Returns:
      Crops, enlarged to the size of the largest, and natural log of power, neither scaled nor pooled.

    Raises:
      ValueError: the split does not fit `inputs`, or one of the clips is too short.
    """
    requirements.check_features(split, inputs)
    with split.readable_errors():
        cuts = [_cut_example(split, inputs, item) for item in items]
    side = max(frame.shape[0] for frame, _ in cuts)
    frames = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame, _ in cuts]
    return np.stack(frames), np.stack([ln_power for _, ln_power in cuts])


def _rows(
    split: built_dataset.Split, pairing: str, seed: int, items: Sequence[int] | slice | None, draws: int
) -> dict[str, np.ndarray]:
    if pairing not in pairs.EVALUATION_PAIRINGS:
        raise ValueError(f"pairing={pairing!r} is unknown; evaluation has {', '.join(pairs.EVALUATION_PAIRINGS)}")
    every_clip = np.arange(len(split))
    image = every_clip if items is None else every_clip[items]
    chance = np.random.default_rng((seed, PARTNER_STREAM)).random(len(split))
    audio = [image]
    if pairing == "shifted":
        audio.append(image)
    elif pairing != "all_positive":
        audio += list(pairs.partner_draws(partner_groups(split), chance, draws)[:, image])
    if pairing == "negatives":
        audio.append(image)
    pair_draw = np.repeat(np.arange(-1, len(audio) - 1), len(image))
    moment = chance[image] if pairing == "shifted" else np.full(len(image), MIDDLE_MOMENT)
    return {
        "image_item": np.tile(image, len(audio)),
        "audio_item": np.concatenate(audio),
        "corresponds": pair_draw < 0,
        "pair_draw": pair_draw,
        "silent": (pair_draw == draws) & (pairing == "negatives"),
        "moment": np.tile(moment, len(audio)),
    }


def _given_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    own = rows["image_item"] == rows["audio_item"]
    middle = {"silent": np.zeros(len(own), bool), "moment": np.full(len(own), MIDDLE_MOMENT)}
    return {"corresponds": own, "pair_draw": np.where(own, -1, 0), **middle, **rows}


def _locate(
    rows: dict, *, records: Records, inputs: InputSpec, offsets_ms: Int64[np.ndarray, " offsets"], num_classes: int
) -> dict:
    """Read the encoded images of pairs, locate their audio, and parse their annotations."""
    image_clips, audio_clips = records(rows["image_item"]), records(rows["audio_item"])
    moment = rows["moment"][:, None]
    image_moment = sample.draw_moments(moment, image_clips, inputs, offsets_ms)
    audio_moment = sample.draw_moments(moment, audio_clips, inputs, offsets_ms)
    audio_ms = tf.where(rows["corresponds"][:, None], audio_moment.images_ms, audio_moment.audio_ms)
    start = cut.start_column(audio_ms, inputs.columns, inputs.front_end)
    images = cut.locate_images(image_clips, image_moment.frame, inputs)
    audio = cut.locate_audio(audio_clips, start, audio_ms, inputs)
    return {
        "row": rows,
        "images": {name: records.strings(locations)[:, 0] for name, locations in images.items()},
        "audio": {name: locations[:, 0] for name, locations in audio.items()},
        "video": graph.fingerprint(image_clips["video_id"]),
        "clip_id": image_clips["clip_id"],
        "frame_ms": image_moment.frame_ms[:, 0],
        "annotations": annotations.clip_annotations(image_clips, num_classes),
        **annotations.label_fields(image_clips, inputs.classes),
    }


def _decode(located: dict, *, inputs: InputSpec) -> tuple[dict, dict, dict]:
    """Decode the images of one pair: return fields of a `Batch`, the locations of the audio, and the annotations."""
    images, clip_id = located["images"], located["clip_id"]
    window, size = sample.crop_window(images["frames"][0], tf.constant(sample.MIDDLE, tf.float64), inputs)
    batch = {
        **cut.decode_images(images, window, inputs),
        "corresponds": located["row"]["corresponds"],
        "video": located["video"],
        "weight": tf.ones(()),
        **{name: located[name] for name in ("labels",) if name in located},
    }
    of_frame = annotations.frame_annotations(located["annotations"], clip_id, located["frame_ms"], window, size)
    return batch, located["audio"], {**located["row"], "clip_id": clip_id, **of_frame}


def _read_audio(batch: dict, locations: dict, real: dict, *, records: Records, inputs: InputSpec) -> tuple[dict, dict]:
    """Add the audio to a batch."""
    audio = cut.read_audio(records, locations, inputs)
    for name, silence in {"log_spectrogram": SILENCE, "waveform": 0}.items():
        if name in audio:
            silent = tf.reshape(real["silent"], [-1] + [1] * (len(audio[name].shape) - 1))
            audio[name] = tf.where(silent, tf.constant(silence, audio[name].dtype), audio[name])
    return {**batch, **audio}, real


def _cut_example(split: built_dataset.Split, inputs: InputSpec, item: int) -> tuple[np.ndarray, np.ndarray]:
    draw = tf.constant(sample.MIDDLE, tf.float64)
    records = split.records(cut.FEATURES, cut.large_values(inputs))
    record = records(tf.constant([item], tf.int64))
    moment = sample.draw_moments(draw[None, Draw.MOMENT : Draw.MOMENT + 1], record, inputs, sample.ALIGNED_MS)
    start = cut.start_column(moment.audio_ms, inputs.columns, inputs.front_end)
    (jpeg,) = records.strings(record["frames"].pick(moment.frame))[0]
    window, _ = sample.crop_window(jpeg, draw, inputs)
    pixels = cut.decode_frame(jpeg, window, int(window[2]))
    locations = record["log_spectrogram"].cut(start * cut.COLUMN_BYTES, inputs.columns * cut.COLUMN_BYTES)
    columns = cut.read_columns(records, locations[0], inputs.columns, record["clip_id"])
    return pixels.numpy(), columns[0].numpy().astype(np.float32)


def _pad(batch: dict[str, np.ndarray], real: dict[str, np.ndarray], scaling: str, batch_size: int) -> tuple:
    batch |= augment.scale_audio(batch, scaling)
    missing = batch_size - len(batch["weight"])
    fields = {name: np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for name, array in batch.items()}
    return Batch(**fields), {**real, "clip_id": np.array([name.decode() for name in real["clip_id"]])}
