"""Runs the TensorFlow pipelines: their numbers of threads, and their elements as NumPy arrays."""

import os
import weakref
from collections.abc import Iterator

import tensorflow as tf

from avlearn.data import built_dataset
from avlearn.data.records import Records
from avlearn.data.sample import Sampling

PARALLEL_GROUPS = 2  # groups of clips to read at once: few, since Python code runs on one thread at a time


def num_threads(sampling: Sampling) -> int:
    """Return the number of threads of the input pipeline."""
    return sampling.threads if sampling.threads > 0 else os.cpu_count() or 1


def num_group_threads(records: Records, sampling: Sampling) -> int:
    """Return how many groups of clips are read at once: one per thread if records are read in full."""
    return num_threads(sampling) if records.max_clips == 1 else PARALLEL_GROUPS


def numpy_elements(dataset: tf.data.Dataset, split: built_dataset.Split, sampling: Sampling) -> Iterator:
    """Yield the elements of a dataset as NumPy arrays; errors in records become ValueErrors."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = sampling.threads  # 0: one per core
    options.threading.max_intra_op_parallelism = 1
    held = [dataset.with_options(options).as_numpy_iterator()]
    elements = _elements(held, split)
    # Release the iterator while Python still runs: at exit its threads and Python would wait for each other forever.
    weakref.finalize(elements, held.clear)
    return elements


def _elements(held: list[Iterator], split: built_dataset.Split) -> Iterator:
    while held:
        with split.readable_errors():
            try:
                element = next(held[0])
            except StopIteration:
                return
        yield element
