"""Pictures of any TFDS classification dataset, such as ImageNet, for the linear probe (Look, Listen and Learn 3.4)."""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import UInt8
from tensorflow_datasets.core.utils.version import list_all_versions

from avlearn.data import graph
from avlearn.types import InputSpec


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSplit:
    """An open split of pictures with one class each.

    Attributes:
      dataset: "builder" or "builder/config"; version: of the data on disk; name: of the split, such as `train[:10%]`.
      builder: of TFDS, which reads it.
      keys: of the picture and of the label.
      classes: there are.
      pictures: in the split.
    """

    dataset: str
    version: str
    name: str
    builder: tfds.core.DatasetBuilder
    keys: tuple[str, str]
    classes: int
    pictures: int

    def __len__(self) -> int:
        return self.pictures


def open_images(dataset: str, data_dir: str | os.PathLike, split: str) -> ImageSplit:
    """Opens a split of the latest version of a dataset that TFDS has prepared.

    Args:
      dataset: "builder" or "builder/config", such as `imagenet2012`.
      data_dir: where TFDS keeps it.
      split: its name, or a part of it as TFDS writes them.

    Raises:
      ValueError: it is not there, has no such split, or is not of pictures with one class each.
    """
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only reads: the accelerator is JAX's
    folder = epath.Path(data_dir) / dataset
    versions = list_all_versions(folder)
    if not versions:
        raise ValueError(
            f"the pictures of {dataset} are not in {data_dir}. Prepare them: tfds build {dataset} "
            f"--data_dir={data_dir} (ImageNet's archives are put into --manual_dir), or name others with "
            "--config.evaluation.linear_probe.dataset"
        )
    builder = tfds.builder_from_directory(folder / str(versions[-1]))
    features, keys = builder.info.features, builder.info.supervised_keys
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if not keys or not all(isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        raise ValueError(f"{dataset} is no classification dataset of pictures: its supervised keys are {keys}")
    try:
        pictures = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise ValueError(f"{dataset} has no split {split!r}; it has {', '.join(builder.info.splits)}.") from error
    if not pictures:
        raise ValueError(f"the split {split!r} of {dataset} in {data_dir} is empty.")
    return ImageSplit(dataset, str(versions[-1]), split, builder, keys, features[keys[1]].num_classes, pictures)


def image_batches(
    split: ImageSplit, inputs: InputSpec, *, batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "batch height width 3"], dict[str, np.ndarray]]]:
    """One pass over a split: the middle square of each picture, `crop_fraction` of its shorter side.

    Args:
      split: what to cover.
      inputs: its `crop_fraction` and `frame_pixels` are used.
      batch_size: pictures of a batch; the last one is padded with zeros.

    Yields:
      Frames, and for the real ones: labels bool `[pictures, classes]`.
    """
    cut = functools.partial(_cut, keys=split.keys, inputs=inputs)
    dataset = split.builder.as_dataset(split=split.name, shuffle_files=False)
    dataset = dataset.map(graph.in_graph(cut), num_parallel_calls=os.cpu_count()).batch(batch_size).prefetch(2)
    for frames, labels in dataset.as_numpy_iterator():
        missing = batch_size - len(frames)
        yield (
            np.pad(frames, [(0, missing), (0, 0), (0, 0), (0, 0)]),
            {"labels": labels[:, None] == np.arange(split.classes)[None]},
        )


def _cut(example: dict, *, keys: tuple[str, str], inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    picture, label = (example[key] for key in keys)
    size = tf.shape(picture)[:2]
    side = tf.cast(tf.round(inputs.crop_fraction * tf.cast(tf.reduce_min(size), tf.float64)), tf.int32)
    top, left = tf.unstack((size - side) // 2)
    crop = tf.image.crop_to_bounding_box(picture, top, left, side, side)
    resized = tf.image.resize(crop, (inputs.frame_pixels, inputs.frame_pixels), method="area")
    frame = tf.cast(tf.round(resized), tf.uint8)
    return (tf.image.grayscale_to_rgb(frame) if picture.shape[-1] == 1 else frame), label
