"""Pairs per second of the input pipeline, compared with only decoding and cropping the same JPEG frames.

    python tests/benchmarks/input_pipeline.py --dataset=synthetic_av/miniature --data_dir=data

Several datasets, such as records of 25, 5 and 1 frames per second, are measured one after the other. All streams of a
dataset run in one process on the same threads. They alternate, so that other load on the machine affects all alike;
each number is the median of the rounds. Byte counts are requested bytes. The line above the table gives the bytes that
the disk delivers for one pair of each clip with cold caches (Linux only; the files must be on a disk).
"""

from avlearn.devices import environment

environment.set_variables()  # before TensorFlow is imported

import collections
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import tensorflow as tf
from absl import app, flags

from avlearn.data import built_dataset, contents, cut, evaluation_pairs, pipeline, sample
from avlearn.types import InputSpec

DATASETS = flags.DEFINE_list("dataset", ["synthetic_av/miniature"], "Built datasets.")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Directory of the datasets.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the datasets.")
FRAME_PIXELS = flags.DEFINE_integer("frame_pixels", 64, "Side of the network's frame.")
CROP_FRACTION = flags.DEFINE_float("crop_fraction", 112 / 128, "Side of the crop as a share of the shorter side.")
POOL = flags.DEFINE_integer("pool", 4, "Cells of the log-spectrogram that are averaged.")
BATCH = flags.DEFINE_integer("batch", 32, "Pairs in a batch.")
THREADS = flags.DEFINE_integer("threads", 0, "Threads of the pipeline; 0: one for each core.")
PAIRS = flags.DEFINE_integer("pairs", 7680, "Pairs in a round: many more than are prefetched before it starts.")
TURNS = flags.DEFINE_integer("turns", 3, "Rounds of measurement.")
DRAWS = (1, 4, 8)  # samples_per_clip


def frames(split: built_dataset.Split, count: int) -> tf.Tensor:
    """Read one encoded frame of each of the first clips."""
    records, jpegs = split.records({}, ["frames"]), []
    for clip in range(min(count, len(split))):
        first = records(tf.constant([clip], tf.int64))["frames"].pick(tf.zeros((1, 1), tf.int64))
        jpegs.append(records.strings(first)[0, 0])
    return tf.stack(jpegs)


def decode_only(split: built_dataset.Split, inputs: InputSpec) -> Iterator:
    """Yield endless batches of crops decoded from memory, without further work."""
    jpegs = frames(split, 512)
    window, _ = sample.crop_window(jpegs[0], tf.constant(sample.MIDDLE, tf.float64), inputs)

    def decode(jpeg: tf.Tensor) -> tf.Tensor:
        return tf.image.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")

    options = tf.data.Options()
    options.threading.private_threadpool_size = THREADS.value
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.from_tensor_slices(jpegs).repeat().map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(dataset.batch(BATCH.value).prefetch(2).with_options(options))


def training(split: built_dataset.Split, inputs: InputSpec, samples_per_clip: int) -> Iterator:
    """Endless training batches of one worker."""
    sampling = sample.Sampling(samples_per_clip=samples_per_clip, threads=THREADS.value)
    return pipeline.training_batches(
        split, inputs, sampling, seed=0, num_workers=1, batch_per_worker=BATCH.value, workers=[0]
    )


def measure(streams: dict[str, Callable[[], Iterator]]) -> dict[str, list[tuple[float, float]]]:
    """Measure pairs per second and per CPU second in each round; a stream exists only during its own measurement."""
    rates = {name: [] for name in streams}
    batches = PAIRS.value // BATCH.value
    for _ in range(TURNS.value):
        for name, begin in streams.items():
            stream = begin()
            next(stream)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(batches):
                next(stream)
            taken = time.perf_counter() - wall, time.process_time() - cpu
            rates[name].append(tuple(batches * BATCH.value / seconds for seconds in taken))
            del stream
    return rates


def read_bytes(split: built_dataset.Split, inputs: InputSpec, draws: int) -> float:
    """Return the mean number of bytes read for a pair; frames are represented by the first of each clip."""
    if split.entry_offset is None:
        return sum(map(os.path.getsize, split.files)) / len(split) / draws
    tables = sum(os.path.getsize(file + contents.SUFFIX) for file in split.files) / len(split) / draws
    return tables + np.mean([len(jpeg) for jpeg in frames(split, 512).numpy()]) + inputs.columns * cut.COLUMN_BYTES


def delivered(split: built_dataset.Split, inputs: InputSpec) -> float:
    """Bytes that the disk delivers for a pair of evaluation, one from each clip, none of them in memory before."""
    pairs = evaluation_pairs.batches(split, inputs, sample.Sampling(), pairing="all_positive", batch_size=64)
    for file in split.files:
        with open(file) as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = psutil.Process().io_counters().read_bytes
    collections.deque(pairs, maxlen=0)
    return (psutil.Process().io_counters().read_bytes - before) / len(split)


def table(split: built_dataset.Split, inputs: InputSpec) -> None:
    """Print rows for the limit and for each number of draws, with and without tables of contents."""
    streams, sizes = {"JPEG decode and crop only": functools.partial(decode_only, split, inputs)}, [0.0]
    ways = {"by contents": split, "whole records": dataclasses.replace(split, entry_offset=None)}
    # Before files are memory-mapped, and whole records first: mapped pages stay in memory.
    from_disk = {way: delivered(opened, inputs) / 1e3 for way, opened in reversed(ways.items())}
    for way, opened in ways.items():
        for draws in DRAWS:
            streams[f"{way}, samples_per_clip={draws}"] = functools.partial(training, opened, inputs, draws)
            sizes.append(read_bytes(opened, inputs, draws))
    print(f"\n{split.dataset} {split.version}, {len(split)} clips of {split.name!r}, batch {BATCH.value}")
    print("from the disk, kB a pair: " + ", ".join(f"{way} {size:,.0f}" for way, size in from_disk.items()))
    print(f"{'':36}{'pairs/s':>10}{'CPU ms a pair':>16}{'of the limit, CPU':>19}{'kB a pair':>12}")
    medians = {name: np.median(turns, axis=0) for name, turns in measure(streams).items()}
    bare = medians["JPEG decode and crop only"][1]
    for (name, (wall, cpu)), size in zip(medians.items(), sizes, strict=True):
        print(f"{name:36}{wall:10.0f}{1e3 / cpu:16.2f}{cpu / bare:19.0%}{size / 1e3:12,.0f}", flush=True)


def main(_: list[str]) -> None:
    """Print the tables."""
    inputs = InputSpec(frame_pixels=FRAME_PIXELS.value, crop_fraction=CROP_FRACTION.value, pool=POOL.value)
    for dataset in DATASETS.value:
        table(built_dataset.open_split(dataset, DATA_DIR.value, SPLIT.value), inputs)


if __name__ == "__main__":
    app.run(main)
