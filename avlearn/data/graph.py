"""Operations that the TensorFlow graphs of the input pipelines share."""

from collections.abc import Callable

import numpy as np
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


def checked(values: tf.Tensor, check: Callable[..., None], *arguments: tf.Tensor) -> tf.Tensor:
    """Return values after a NumPy function has accepted them and other arguments; its ValueError ends the graph."""

    def accept(*arrays: np.ndarray) -> np.ndarray:
        check(*arrays)
        return np.array(True)

    accepted = tf.numpy_function(accept, [values, *arguments], tf.bool, stateful=False)
    # Without the assertion, TensorFlow would prune the function.
    with tf.control_dependencies([tf.debugging.Assert(accepted, [accepted])]):
        return tf.identity(values)
