"""Images of any TFDS classification dataset, such as ImageNet, for the linear probe (Look, Listen and Learn 3.4)."""

import dataclasses
import functools
import os
import shlex
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
    """An open split of images with one class each.

    Attributes:
      dataset: "builder" or "builder/config".
      version: version of the data on disk.
      name: name of the split, such as `train[:10%]`.
      builder: TFDS builder that reads the split.
      keys: keys of the image and of the label.
      num_classes: number of classes.
      num_images: number of images in the split.
    """

    dataset: str
    version: str
    name: str
    builder: tfds.core.DatasetBuilder
    keys: tuple[str, str]
    num_classes: int
    num_images: int

    def __len__(self) -> int:
        return self.num_images


def open_images(dataset: str, data_dir: str | os.PathLike, split: str) -> ImageSplit:
    """Open a split of the latest version of a dataset that TFDS has prepared.

    Args:
      dataset: "builder" or "builder/config", such as `imagenet2012`.
      data_dir: directory of the datasets that TFDS has prepared.
      split: name of the split, or a part of it in the syntax of TFDS.

    Raises:
      ValueError: the dataset is missing, has no such split, or does not hold images with one class each.
    """
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only reads; the accelerator is for JAX
    folder = epath.Path(data_dir) / dataset
    versions = list_all_versions(folder)
    if not versions:
        raise ValueError(
            f"the images of {dataset} are not in {data_dir}. Prepare them: tfds build {shlex.quote(dataset)} "
            f"--data_dir={shlex.quote(os.fspath(data_dir))} (ImageNet's archives go into --manual_dir), or name "
            "another dataset with --config.evaluation.linear_probe.dataset"
        )
    builder = tfds.builder_from_directory(folder / str(versions[-1]))
    features, keys = builder.info.features, builder.info.supervised_keys
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if not keys or not all(isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)):
        raise ValueError(f"{dataset} is not a dataset of images with one class each: its supervised keys are {keys}")
    try:
        num_images = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise ValueError(f"{dataset} has no split {split!r}; it has {', '.join(builder.info.splits)}.") from error
    if not num_images:
        raise ValueError(f"the split {split!r} of {dataset} in {data_dir} is empty.")
    return ImageSplit(dataset, str(versions[-1]), split, builder, keys, features[keys[1]].num_classes, num_images)


def image_batches(
    split: ImageSplit, inputs: InputSpec, *, batch_size: int
) -> Iterator[tuple[UInt8[np.ndarray, "batch height width 3"], dict[str, np.ndarray]]]:
    """Yield the images of a split once, each cropped to a central square of `crop_fraction` of its shorter side.

    Args:
      split: split to read.
      inputs: `crop_fraction` and `frame_pixels` are used.
      batch_size: images of a batch; the last batch is padded with zeros.

    Yields:
      Frames, and for the real ones: labels bool `[images, classes]`.
    """
    cut = functools.partial(_cut, keys=split.keys, inputs=inputs)
    dataset = split.builder.as_dataset(split=split.name, shuffle_files=False)
    dataset = dataset.map(graph.without_autograph(cut), num_parallel_calls=os.cpu_count()).batch(batch_size).prefetch(2)
    for frames, labels in dataset.as_numpy_iterator():
        missing = batch_size - len(frames)
        yield (
            np.pad(frames, [(0, missing), (0, 0), (0, 0), (0, 0)]),
            {"labels": labels[:, None] == np.arange(split.num_classes)[None]},
        )


def _cut(example: dict, *, keys: tuple[str, str], inputs: InputSpec) -> tuple[tf.Tensor, tf.Tensor]:
    image, label = (example[key] for key in keys)
    size = tf.shape(image)[:2]
    side = tf.cast(tf.round(inputs.crop_fraction * tf.cast(tf.reduce_min(size), tf.float64)), tf.int32)
    top, left = tf.unstack((size - side) // 2)
    crop = tf.image.crop_to_bounding_box(image, top, left, side, side)
    resized = tf.image.resize(crop, (inputs.frame_pixels, inputs.frame_pixels), method="area")
    frame = tf.cast(tf.round(resized), tf.uint8)
    return (tf.image.grayscale_to_rgb(frame) if image.shape[-1] == 1 else frame), label
