"""Operations that the TensorFlow graphs of the input pipelines share."""

import tensorflow as tf

from avlearn.data.records import Records


def group_clips(dataset: tf.data.Dataset, records: Records, size: int) -> tf.data.Dataset:
    """Batch the clip numbers of a dataset: at most `size`, and no more than one call of `records` may read."""
    return dataset.batch(min(size, records.max_clips))


# The functions passed to `map` are plain TensorFlow; skipping AutoGraph saves seconds of tracing.
without_autograph = tf.autograph.experimental.do_not_convert


def fingerprint(video_id: tf.Tensor) -> tf.Tensor:
    """Hash a video's name to 31 bits, int32. Videos whose hashes collide are never paired as negatives."""
    return tf.cast(tf.strings.to_hash_bucket_fast(video_id, 2**31 - 1), tf.int32)
