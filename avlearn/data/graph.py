"""Steps of the TensorFlow graph that reads records."""

import tensorflow as tf

from avlearn.data.records import Records


def grouped(dataset: tf.data.Dataset, records: Records, size: int) -> tf.data.Dataset:
    """The dataset's elements in groups of as many as records are read at once, at most `size`."""
    return dataset.batch(min(size, records.at_once))


# These functions are graphs as they stand, and tracing them takes seconds less without a translation of their source.
in_graph = tf.autograph.experimental.do_not_convert


def fingerprint(video_id: tf.Tensor) -> tf.Tensor:
    """31 bits of a video's name, int32. Two videos with the same one are just never paired as negatives."""
    return tf.cast(tf.strings.to_hash_bucket_fast(video_id, 2**31 - 1), tf.int32)
