"""The papers' networks in plain PyTorch, against which models, imported weights and step times are compared.

Layers have the names of `avlearn.models`, and `load` copies the weights of such a model. Images are `[batch, channels,
(frames,) height, width]`, spectrograms `[batch, 1, bins, columns]`. Each network returns the fields of
`avlearn.types.Outputs` that it computes.
"""

import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.nn import functional as F

WIDTH = 1 / 16
IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATIONS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
PARAMETERS = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


# --- L3-Net, AVE-Net, AVOL-Net and their variants ---------------------------------------------------------------------


class Tower(nn.Module):
    """Blocks of two convolutions, each with batch normalisation and ReLU, with pooling after blocks 1 to 3.

    `axes` is 3 for video. With `replicated`, convolutions have a bias and pad both sides, as in the public replication;
    otherwise a convolution of stride 2 pads only after the last row and column.
    """

    def __init__(self, in_channels, width=WIDTH, *, blocks=(1, 2, 3, 4), stride=2, replicated=False, axes=2):
        super().__init__()
        self.blocks, self.axes = blocks, axes
        self.pad_after = stride == 2 and not replicated
        for block in blocks:
            channels = round(2**block * 32 * width)
            for layer in (1, 2):
                first = (block, layer) == (1, 1)
                settings = {"stride": stride if first else 1, "padding": 0 if first and self.pad_after else 1}
                convolution = CONVOLUTIONS[axes](in_channels, channels, 3, bias=replicated, **settings)
                setattr(self, f"conv{block}_{layer}", convolution)
                setattr(self, f"bn{block}_{layer}", NORMALISATIONS[axes](channels))
                in_channels = channels
        self.channels = in_channels

    def forward(self, x):
        if 1 in self.blocks and self.pad_after:
            x = F.pad(x, (0, 1, 0, 1) + (1, 1) * (self.axes - 2))
        for block in self.blocks:
            for layer in (1, 2):
                x = F.relu(getattr(self, f"bn{block}_{layer}")(getattr(self, f"conv{block}_{layer}")(x)))
            if block < 4:
                x = F.max_pool2d(x, 2) if self.axes == 2 else F.max_pool3d(x, (2 if block == 3 else 1, 2, 2))
        return x


class EmbeddingTower(Tower):
    """A tower with pool4, fc1 and fc2."""

    def __init__(self, in_channels, width=WIDTH, *, outputs=128, **tower):
        super().__init__(in_channels, width, **tower)
        self.fc1, self.fc2 = nn.Linear(self.channels, 128), nn.Linear(128, outputs)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(pool4(super().forward(x)))))


class TwoStreamTower(EmbeddingTower):
    def __init__(self, flow_channels, width=WIDTH):
        super().__init__(2 * round(256 * width), width, blocks=(4,))
        self.image = Tower(3, width, blocks=(1, 2, 3))
        self.flow = Tower(flow_channels, width, blocks=(1, 2, 3))

    def forward(self, image, flow):
        return super().forward(torch.cat([self.image(image), self.flow(flow)], 1))


class L3Net(nn.Module):
    def __init__(self, width=WIDTH, **tower):
        super().__init__()
        self.vision, self.audio = Tower(3, width, **tower), Tower(1, width, **tower)
        self.fc1, self.fc2 = nn.Linear(2 * self.vision.channels, 128), nn.Linear(128, 2)

    def forward(self, image, sound):
        image, sound = pool4(self.vision(image)), pool4(self.audio(sound))
        logits = self.fc2(F.relu(self.fc1(torch.cat([image, sound], 1))))
        embeddings = {"image_embedding": F.normalize(image), "audio_embedding": F.normalize(sound)}
        return {"logit": logits[:, 1] - logits[:, 0], **embeddings}


class AveNet(nn.Module):
    """AVE-Net with any vision subnetwork, which takes all inputs but the last, the sound."""

    def __init__(self, vision, width=WIDTH, **tower):
        super().__init__()
        self.vision, self.audio = vision, EmbeddingTower(1, width, **tower)
        self.fc3 = nn.Linear(1, 2)

    def forward(self, *inputs):
        *images, sound = inputs
        image, sound = F.normalize(self.vision(*images)), F.normalize(self.audio(sound))
        logits = self.fc3((image - sound).norm(dim=1, keepdim=True))
        return {"logit": logits[:, 1] - logits[:, 0], "image_embedding": image, "audio_embedding": sound}


def avenet(width=WIDTH, **tower):
    return AveNet(EmbeddingTower(3, width, **tower), width, **tower)


def avenet_multiframe():
    return AveNet(EmbeddingTower(3, axes=3))


def avenet_flow(flow_fields):
    return AveNet(TwoStreamTower(2 * flow_fields))


class AvolVision(Tower):
    def __init__(self, width, relu, **tower):
        super().__init__(3, width, **tower)
        self.conv5, self.conv6 = nn.Conv2d(self.channels, 128, 1), nn.Conv2d(128, 128, 1)
        self.relu = relu

    def forward(self, x):
        x = self.conv5(super().forward(x))
        return self.conv6(F.relu(x) if self.relu else x)


class AvolNet(nn.Module):
    def __init__(self, width=WIDTH, *, relu=True, **tower):
        super().__init__()
        self.vision, self.audio = AvolVision(width, relu, **tower), EmbeddingTower(1, width, **tower)
        self.conv7 = nn.Conv2d(1, 1, 1)

    def forward(self, image, sound):
        cells, sound = self.vision(image), self.audio(sound)
        heat_map = self.conv7(torch.einsum("bdhw,bd->bhw", cells, sound)[:, None])[:, 0]
        embeddings = {"image_embedding": F.normalize(pool4(cells)), "audio_embedding": F.normalize(sound)}
        return {"logit": heat_map.amax((1, 2)), "heat_map": heat_map, **embeddings}


class Supervised(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.vision, self.audio = EmbeddingTower(3, outputs=classes), EmbeddingTower(1, outputs=classes)

    def forward(self, image, sound):
        image, sound = self.vision(image).softmax(1), self.audio(sound).softmax(1)
        embeddings = {"image_embedding": F.normalize(image), "audio_embedding": F.normalize(sound)}
        return {"logit": torch.logit((image * sound).sum(1)), **embeddings}


# --- LVS and Attention10k ---------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Identity()
        if in_channels != channels:
            shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet18(nn.Module):
    """torchvision's resnet18 without fc, and with stride 1 in layer4 as in LVS; strides have no weights."""

    def __init__(self, in_channels=3, width=WIDTH):
        super().__init__()
        channels = [round(64 * 2**stage * width) for stage in range(4)]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        before = channels[0]
        for stage, stride in enumerate((1, 2, 2, 1)):
            blocks = BasicBlock(before, channels[stage], stride), BasicBlock(channels[stage], channels[stage], 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            before = channels[stage]

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Lvs(nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.vision, self.audio = ResNet18(3, width), ResNet18(1, width)

    def vectors(self, image, sound):
        return F.normalize(self.vision(image), dim=1), F.normalize(pool4(self.audio(sound)))

    def forward(self, image, sound):
        cells, sound = self.vectors(image, sound)
        cosines = torch.einsum("bdhw,bd->bhw", cells, sound)
        mask = torch.sigmoid((cosines - 0.65) / 0.03)
        response = (mask * cosines).sum((1, 2)) / mask.sum((1, 2))
        embeddings = {"image_embedding": F.normalize(pool4(cells)), "audio_embedding": sound}
        return {"logit": (response - 0.65) / 0.03, "heat_map": (cosines - 0.65) / 0.03, **embeddings}


class Attention10k(Lvs):
    def __init__(self, width=WIDTH):
        super().__init__(width)
        dim = round(512 * width)
        self.sound_fc1, self.sound_fc2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.vision_fc1, self.vision_fc2 = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, image, sound):
        cells, sound = self.vision(image), F.normalize(pool4(self.audio(sound)))
        query = F.normalize(self.sound_fc2(F.relu(self.sound_fc1(sound))))
        maps = F.relu(torch.einsum("bdhw,bd->bhw", F.normalize(cells, dim=1), query))
        attention = maps.flatten(1).softmax(1)
        attended = F.relu(torch.einsum("bdn,bn->bd", cells.flatten(2), attention))
        attended = F.normalize(self.vision_fc2(F.relu(self.vision_fc1(attended))))
        embeddings = {"image_embedding": F.normalize(pool4(cells)), "audio_embedding": sound}
        heat_map = (attention * attention.shape[1]).log().view_as(maps)
        return {"logit": 2**0.5 - (attended - sound).norm(dim=1), "heat_map": heat_map, **embeddings}


# --- The multisensory network -----------------------------------------------------------------------------------------


def same(convolution, x):
    """Convolve with TensorFlow's SAME padding: if it is odd, the larger part comes last."""
    padding = []
    for side, taps, stride in zip(x.shape[2:], convolution.kernel_size, convolution.stride, strict=True):
        missing = max(0, (-(-side // stride) - 1) * stride + taps - side)
        padding = [missing // 2, missing - missing // 2, *padding]  # the last axis comes first
    return convolution(F.pad(x, padding))


class NormalisedConv(nn.Module):
    def __init__(self, in_channels, channels, kernel, strides):
        super().__init__()
        self.conv = CONVOLUTIONS[len(kernel)](in_channels, channels, kernel, strides, bias=False)
        self.bn = NORMALISATIONS[len(kernel)](channels)

    def forward(self, x):
        return self.bn(same(self.conv, x))


class ResidualBlock(nn.Module):
    def __init__(self, in_channels, channels, kernel, strides):
        super().__init__()
        self.strides = strides
        self.first = NormalisedConv(in_channels, channels, kernel, strides)
        self.second = CONVOLUTIONS[len(kernel)](channels, channels, kernel)
        if in_channels != channels:
            self.shortcut = NormalisedConv(in_channels, channels, (1,) * len(kernel), strides)
        self.bn = NORMALISATIONS[len(kernel)](channels)

    def forward(self, x):
        out = same(self.second, F.relu(self.first(x)))
        subsampled = x[(..., *(slice(None, None, stride) for stride in self.strides))]
        return F.relu(self.bn(out + (self.shortcut(x) if hasattr(self, "shortcut") else subsampled)))


class Multisensory(nn.Module):
    """Owens and Efros's network, on frames and the waveform `[batch, samples]`."""

    def __init__(self, width=WIDTH):
        super().__init__()
        c64, c128, c256, c512 = (round(channels * width) for channels in (64, 128, 256, 512))
        ones, cube = (1, 1, 1), (3, 3, 3)
        self.sound = nn.ModuleDict(
            {
                "conv1_1": NormalisedConv(1, c64, (65,), (4,)),
                "conv2_1": ResidualBlock(c64, c128, (15,), (4,)),
                "conv3_1": ResidualBlock(c128, c128, (15,), (4,)),
                "conv4_1": ResidualBlock(c128, c256, (15,), (4,)),
                "conv5_1": NormalisedConv(c256, c128, (3,), (1,)),
            }
        )
        self.vision = nn.ModuleDict(
            {
                "conv1": NormalisedConv(3, c64, (5, 7, 7), (2, 2, 2)),
                "conv2_1": ResidualBlock(c64, c64, cube, ones),
                "conv2_2": ResidualBlock(c64, c64, cube, (2, 2, 2)),
            }
        )
        merge1, merge2 = NormalisedConv(c64 + c128, c512, ones, ones), nn.Conv3d(c512, 2 * c64, 1)
        self.fusion = nn.ModuleDict({"merge1": merge1, "merge2": merge2, "bn": nn.BatchNorm3d(2 * c64)})
        self.conv3_1 = ResidualBlock(2 * c64, c128, cube, ones)
        self.conv3_2 = ResidualBlock(c128, c128, cube, ones)
        self.conv4_1 = ResidualBlock(c128, c256, cube, (2, 2, 2))
        self.conv4_2 = ResidualBlock(c256, c256, cube, ones)
        self.conv5_1 = ResidualBlock(c256, c512, cube, (1, 2, 2))
        self.conv5_2 = ResidualBlock(c512, c512, cube, ones)
        self.logit = nn.Linear(c512, 1)

    def forward(self, frames, waveform):
        sound = waveform.sign() * torch.log1p(255 * waveform.abs()) / np.log(256)
        sound = F.max_pool1d(F.relu(self.sound["conv1_1"](sound[:, None])), 4)
        for name in ("conv2_1", "conv3_1", "conv4_1"):
            sound = self.sound[name](sound)
        image = F.max_pool3d(F.relu(self.vision["conv1"](frames)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        image = self.vision["conv2_2"](self.vision["conv2_1"](image))
        steps = image.shape[2]
        bounds = [sound.shape[2] * step // steps for step in range(steps + 1)]
        sound = torch.stack([sound[:, :, bounds[i] : bounds[i + 1]].amax(2) for i in range(steps)], 2)
        sound = F.relu(self.sound["conv5_1"](sound))[..., None, None].expand(-1, -1, -1, *image.shape[3:])
        shortcut = torch.cat([image, sound[:, -image.shape[1] :]], 1)
        merged = self.fusion["merge2"](F.relu(self.fusion["merge1"](torch.cat([image, sound], 1))))
        x = F.relu(self.fusion["bn"](merged + shortcut))
        for name in ("conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2"):
            x = getattr(self, name)(x)
        cells = self.logit(x.movedim(1, -1))[..., 0]
        return {"logit": cells.mean((1, 2, 3)), "heat_map": cells.mean(1)}


# --- VGG16 ------------------------------------------------------------------------------------------------------------


class Vgg16(nn.Module):
    """torchvision's vgg16 under its own names: features.0 ... features.28, classifier.0, .3 and .6."""

    def __init__(self, side, width=WIDTH):
        super().__init__()
        layers, before = [], 3
        for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(before, round(channels * width), 3, padding=1), nn.ReLU()]
                before = round(channels * width)
            layers.append(nn.MaxPool2d(2))
        hidden = round(4096 * width)
        first = nn.Linear(before * (side // 32) ** 2, hidden)
        rest = [nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 10)]
        self.features, self.classifier = nn.Sequential(*layers), nn.Sequential(first, *rest)

    def forward(self, image):
        return self.classifier[:5](self.features(image).flatten(1))


# --- Weights and inputs -----------------------------------------------------------------------------------------------


def pool4(x):
    return x.amax(tuple(range(2, x.ndim)))


def load(net, model):
    """Copy all weights of a model of `avlearn.models`; both must have the same layers with the same shapes."""
    tensors = {}
    for (*layer, kind), variable in nnx.to_flat_state(nnx.state(model)):
        array = np.asarray(variable.get_value(), np.float64)
        if kind == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1))
        tensors[".".join(map(str, (*layer, PARAMETERS.get(kind, kind))))] = torch.from_numpy(array.copy())
    missing, unexpected = net.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return net


def randomised(net, seed=0):
    """Return the network in evaluation mode with random parameters and statistics."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.ndim > 1:
                values = rng.normal(0, np.sqrt(2 / np.prod(tensor.shape[1:])), tensor.shape)
            elif name.endswith(("running_var", "weight")):
                values = rng.uniform(0.5, 1.5, tensor.shape)
            else:
                values = rng.normal(0, 0.1, tensor.shape)
            if tensor.is_floating_point():
                tensor.copy_(torch.as_tensor(values))
    return net.eval()


def as_numpy(net):
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def image_of(frames, scaling="symmetric"):
    """Scale frames, or flow, in float64 and put channels first."""
    image = np.asarray(frames, np.float64)
    image = image / 127.5 - 1 if scaling == "symmetric" else image / 255
    if scaling == "imagenet":
        image = (image - IMAGENET_MEAN) / IMAGENET_STANDARD_DEVIATION
    return torch.from_numpy(np.moveaxis(image, -1, 1).copy())


def sound_of(audio):
    """Convert log-spectrograms `[batch, columns, bins]` to one-channel images, and waveforms to float64."""
    audio = np.asarray(audio, np.float64)
    return torch.from_numpy(audio.swapaxes(1, 2)[:, None].copy() if audio.ndim == 3 else audio.copy())
