"""Published weights that can be imported, and the mapping of their arrays to those of our networks.

`replication` is kyuyeonpooh/objects-that-sound, the public PyTorch replication of Objects that Sound (All that Sound);
`icn` and `acn` are its vision and audio towers. `torchvision` and `keras` are the published ImageNet weights.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from avlearn.models import vgg16
from avlearn.models.layers import conv_tower
from avlearn.weights import layouts
from avlearn.weights.layouts import Entry, Layout, Shape

POSITIVE_CLASSES = (0, 1)
# Keras preprocesses for VGG16 in mode `caffe`: B, G, R from 0 to 255, minus this mean (here R, G, B), not scaled.
KERAS_MEAN_COLOUR = (123.68, 116.779, 103.939)


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """A file format for one network's weights.

    Attributes:
      name: value of `--format`.
      entries: maps the shapes of the network's arrays to the entries to read.
      unused: pattern of names that a file may contain but that are not read.
      constants: arrays that are not in the file, by path in the network.
      settings: config keys that the weights were trained with, if they differ from the network's defaults.
      remarks: notes for the user.
      check: raises ValueError if the converted arrays are inconsistent.
    """

    name: str
    entries: Callable[[Mapping[str, Shape]], Sequence[Entry]]
    unused: str = r"(?!)"
    constants: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    remarks: Sequence[str] = ()
    check: Callable[[Mapping[str, np.ndarray]], None] = lambda arrays: None

    def is_unused(self, name: str) -> bool:
        """Return whether a name in the file is known and need not be read."""
        return re.fullmatch(self.unused, name) is not None


def formats(network: str, positive_class: int) -> tuple[WeightLayout, ...]:
    """Return the formats that can be imported into a network.

    Args:
      network: name of a module in avlearn/models.
      positive_class: index of the replication's output, 0 or 1, that means that frame and sound correspond.

    Raises:
      ValueError: `positive_class` is not 0 or 1.
    """
    if positive_class not in POSITIVE_CLASSES:
        raise ValueError(f"--positive_class is {positive_class}; use 0 or 1, the output that means `corresponds`.")
    known = {
        "avenet": (_replicated(_avenet, positive_class, check=_check_order_of_classes),),
        "l3net": (_replicated(_l3net, positive_class),),
        "avolnet": (_replicated(_avolnet, positive_class, settings={"model.conv5_activation": "none"}),),
        "vgg16": (_torchvision_vgg16(), _keras_vgg16()),
        "lvs": (_resnet18(),),
        "attention10k": (_resnet18(),),
    }
    return (*known.get(network, ()), WeightLayout("avlearn", _own))


def _own(shapes: Mapping[str, Shape]) -> list[Entry]:
    return [Entry(path, path, layouts.SAME) for path in shapes]


# --- the replication --------------------------------------------------------------------------------------------------


def _replicated(
    last_layers: Callable[[int], list[Entry]],
    positive_class: int,
    *,
    settings: Mapping[str, object] | None = None,
    check: Callable[[Mapping[str, np.ndarray]], None] = lambda arrays: None,
) -> WeightLayout:
    """Build the format of a network of the replication: both towers, the layers after them, and its settings."""

    def entries(shapes: Mapping[str, Shape]) -> list[Entry]:
        return [*_tower("vision", "icn"), *_tower("audio", "acn"), *last_layers(positive_class)]

    trained_with = {
        "model.conv1_stride": 2,
        "model.conv1_padding": "both",
        "model.frame_scaling": "imagenet",
        "inputs.columns": 199,
    }
    return WeightLayout(
        "replication",
        entries,
        unused=r".*\.num_batches_tracked",
        settings=trained_with | dict(settings or {}),
        remarks=(
            "The replication's spectrograms are decibels of 16-bit samples under a Tukey window, divided by a "
            "constant; config.data.spectrogram_scaling has no exact equivalent. See docs/running/weights.md.",
        ),
        check=check,
    )


def _tower(stream: str, prefix: str) -> list[Entry]:
    entries = []
    for block in conv_tower.CHANNELS:
        for layer in (f"{block}_1", f"{block}_2"):
            conv, norm = f"{prefix}.conv{layer}", f"{prefix}.bn{layer}"
            entries.append(Entry(f"{stream}.conv{layer}.kernel", f"{conv}.weight", layouts.TORCH_CONV))
            # Our convolutions have no bias: subtract it from the running mean of the next normalisation.
            mean = Entry(f"{stream}.bn{layer}.mean", f"{norm}.running_mean", layouts.SAME, subtracted=f"{conv}.bias")
            entries += [mean, *_torch(f"{stream}.bn{layer}", norm, scale="weight", bias="bias", var="running_var")]
    return entries


def _torch(target: str, source: str, **names: str) -> list[Entry]:
    """Return the entries of one layer's vectors; `names` maps our names to PyTorch's."""
    return [Entry(f"{target}.{ours}", f"{source}.{theirs}", layouts.SAME) for ours, theirs in names.items()]


def _linear(target: str, source: str, kernel: Layout = layouts.TORCH_LINEAR, bias: Layout = layouts.SAME):
    return [Entry(f"{target}.kernel", f"{source}.weight", kernel), Entry(f"{target}.bias", f"{source}.bias", bias)]


def _two_classes(target: str, source: str, positive_class: int) -> list[Entry]:
    if positive_class == 1:
        return _linear(target, source)
    return _linear(target, source, layouts.TORCH_LINEAR_SWAPPED, layouts.SWAPPED)


def _avenet(positive_class: int) -> list[Entry]:
    embeddings = [
        entry
        for stream, prefix in (("vision", "img"), ("audio", "aud"))
        for layer in ("fc1", "fc2")
        for entry in _linear(f"{stream}.{layer}", f"{prefix}_{layer}")
    ]
    return [*embeddings, *_two_classes("fc3", "fc3", positive_class)]


def _l3net(positive_class: int) -> list[Entry]:
    return [*_linear("fc1", "fc1"), *_two_classes("fc2", "fc2", positive_class)]


def _avolnet(positive_class: int) -> list[Entry]:
    maps = {"vision.conv5": "im_conv5", "vision.conv6": "im_conv6", "conv7": "fus_conv7"}
    convolutions = [entry for pair in maps.items() for entry in _linear(*pair, kernel=layouts.TORCH_CONV)]
    return [*convolutions, *_linear("audio.fc1", "aud_fc1"), *_linear("audio.fc2", "aud_fc2")]


def _check_order_of_classes(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that AVE-Net's log-odds fall with distance; otherwise the two classes are in the other order."""
    slope = float(arrays["fc3.kernel"][0, 1] - arrays["fc3.kernel"][0, 0])
    if slope > 0:
        raise ValueError(
            "with these weights the log-odds of correspondence rise with the distance of the embeddings (by "
            f"{slope:.3g} for each unit): the two outputs are in the other order. Use the other --positive_class."
        )


# --- ImageNet ---------------------------------------------------------------------------------------------------------


def _vgg16_layers() -> list[str]:
    return [f"conv{block}_{n}" for block, (_, count) in vgg16.CONVOLUTIONS.items() for n in range(1, count + 1)]


def _torchvision_vgg16() -> WeightLayout:
    numbers, number = {}, 0
    for _, count in vgg16.CONVOLUTIONS.values():
        numbers |= {len(numbers) + n: number + 2 * n for n in range(count)}  # each is followed by a ReLU
        number += 2 * count + 1  # and a pooling

    def entries(shapes: Mapping[str, Shape]) -> list[Entry]:
        convolutions = [
            entry
            for index, layer in enumerate(_vgg16_layers())
            for entry in _linear(layer, f"features.{numbers[index]}", kernel=layouts.TORCH_CONV)
        ]
        channels = shapes[f"{_vgg16_layers()[-1]}.bias"][0]
        fc6 = _linear("fc6", "classifier.0", kernel=layouts.torch_linear_after_map(channels))
        return [*convolutions, *fc6, *_linear("fc7", "classifier.3")]

    mean_colour = np.float32(255) * np.array(conv_tower.IMAGENET_MEAN, np.float32)
    return WeightLayout(
        "torchvision", entries, unused=r"classifier\.6\.(weight|bias)", constants={"mean_colour": mean_colour}
    )


def _keras_vgg16() -> WeightLayout:
    deviation = [255 * value for value in conv_tower.IMAGENET_STANDARD_DEVIATION]
    first = layouts.swapped_input_colours(deviation)

    def entries(shapes: Mapping[str, Shape]) -> list[Entry]:
        names = {layer: re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", layer) for layer in _vgg16_layers()}
        names |= {"fc6": "fc1", "fc7": "fc2"}
        return [
            Entry(f"{ours}.{kind}", f"{theirs}.{kind}", first if f"{ours}.{kind}" == "conv1_1.kernel" else layouts.SAME)
            for ours, theirs in names.items()
            for kind in ("kernel", "bias")
        ]

    mean_colour = np.array(KERAS_MEAN_COLOUR, np.float32)
    return WeightLayout("keras", entries, unused=r"predictions\.(kernel|bias)", constants={"mean_colour": mean_colour})


def _resnet18(stream: str = "vision") -> WeightLayout:
    """Build the format of torchvision's resnet18 for one stream, whose layers have torchvision's names."""
    kinds = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

    def entries(shapes: Mapping[str, Shape]) -> list[Entry]:
        read = []
        for path in shapes:
            name, _, kind = path.removeprefix(f"{stream}.").rpartition(".")
            # The fully connected layers of Attention10k are outside the stream.
            if path.startswith(f"{stream}."):
                layout = layouts.TORCH_CONV if kind == "kernel" else layouts.SAME
                read.append(Entry(path, f"{name}.{kinds[kind]}", layout))
        return read

    return WeightLayout(
        "torchvision",
        entries,
        unused=r"fc\.(weight|bias)|.*\.num_batches_tracked",
        remarks=("Only the vision stream is imported; the rest is untrained, so train before you evaluate.",),
    )


def choose(
    network: str, file_format: str, names: Collection[str], shapes: Mapping[str, Shape], positive_class: int
) -> WeightLayout:
    """Return the format of a file.

    Args:
      network: name of a module in avlearn/models.
      file_format: name of a format, or `auto` for the one that shares the most names with the file.
      names: names of the file's entries.
      shapes: our shapes by path in the network.
      positive_class: see `formats`.

    Raises:
      ValueError: the network does not have this format, or no name in the file is known.
    """
    known = {each.name: each for each in formats(network, positive_class)}
    if file_format != "auto":
        if file_format not in known:
            raise ValueError(f"--format={file_format} is unknown for {network}; it takes auto or {', '.join(known)}.")
        return known[file_format]
    shared = {
        name: sum(source in names for entry in each.entries(shapes) for source in entry.sources)
        for name, each in known.items()
    }
    best = max(shared, key=lambda name: shared[name])
    if shared[best] == 0:
        raise ValueError(
            f"none of the file's {len(names)} entries is known for {network} ({', '.join(list(names)[:3])}, ...). "
            f"It takes weights in the formats {', '.join(known)}: see docs/running/weights.md."
        )
    return known[best]
