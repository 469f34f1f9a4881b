"""The networks in plain PyTorch, from their published layer names and shapes; narrow unless a width is given."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 1 / 16


class Tower(nn.Module):
    """Of the replication: every convolution has a bias and a padding of one on either side."""

    def __init__(self, before: int, width: float):
        super().__init__()
        for block in range(1, 5):
            channels = round(2**block * 32 * width)
            for layer in (1, 2):
                stride = 2 if (block, layer) == (1, 1) else 1
                setattr(self, f"conv{block}_{layer}", nn.Conv2d(before, channels, 3, stride, padding=1))
                setattr(self, f"bn{block}_{layer}", nn.BatchNorm2d(channels))
                before = channels

    def forward(self, x):
        for block in range(1, 5):
            for layer in (1, 2):
                x = getattr(self, f"conv{block}_{layer}")(x)
                x = F.relu(getattr(self, f"bn{block}_{layer}")(x))
            if block < 4:
                x = F.max_pool2d(x, 2)
        return x


class Replication(nn.Module):
    """Both towers of the replication; the last layers are those of `last` by their names."""

    def __init__(self, width: float, **last: nn.Module):
        super().__init__()
        self.icn, self.acn = Tower(3, width), Tower(1, width)
        for name, layer in last.items():
            setattr(self, name, layer)


def avenet(width: float = WIDTH) -> Replication:
    dim = round(512 * width)
    streams = {f"{stream}_fc1": nn.Linear(dim, 128) for stream in ("img", "aud")}
    streams |= {f"{stream}_fc2": nn.Linear(128, 128) for stream in ("img", "aud")}
    return Replication(width, **streams, fc3=nn.Linear(1, 2))


def l3net(width: float = WIDTH) -> Replication:
    return Replication(width, fc1=nn.Linear(2 * round(512 * width), 128), fc2=nn.Linear(128, 2))


def avolnet(width: float = WIDTH) -> Replication:
    dim = round(512 * width)
    return Replication(
        width,
        im_conv5=nn.Conv2d(dim, 128, 1),
        im_conv6=nn.Conv2d(128, 128, 1),
        aud_fc1=nn.Linear(dim, 128),
        aud_fc2=nn.Linear(128, 128),
        fus_conv7=nn.Conv2d(1, 1, 1),
    )


def run_avenet(net: Replication, image, sound) -> dict:
    image = F.normalize(net.img_fc2(F.relu(net.img_fc1(net.icn(image).amax((2, 3))))))
    sound = F.normalize(net.aud_fc2(F.relu(net.aud_fc1(net.acn(sound).amax((2, 3))))))
    out = net.fc3((image - sound).norm(dim=1, keepdim=True))
    return {"logit": out[:, 0] - out[:, 1], "image_embedding": image, "audio_embedding": sound}


def run_l3net(net: Replication, image, sound) -> dict:
    image, sound = net.icn(image).amax((2, 3)), net.acn(sound).amax((2, 3))
    out = net.fc2(F.relu(net.fc1(torch.cat([image, sound], 1))))
    return {"logit": out[:, 0] - out[:, 1], "image_embedding": F.normalize(image)}


def run_avolnet(net: Replication, image, sound) -> dict:
    cells = net.im_conv6(net.im_conv5(net.icn(image)))  # no ReLU between them
    sound = net.aud_fc2(F.relu(net.aud_fc1(net.acn(sound).amax((2, 3)))))
    heat_map = net.fus_conv7(torch.einsum("bdhw,bd->bhw", cells, sound)[:, None])[:, 0]
    return {"logit": heat_map.amax((1, 2)), "heat_map": heat_map}


def vgg16(side: int, channels_last_layer: int = 10) -> nn.Module:
    """torchvision's names: features.0 ... features.28, classifier.0, .3 and .6."""
    layers, before = [], 3
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(before, round(channels * WIDTH), 3, padding=1), nn.ReLU()]
            before = round(channels * WIDTH)
        layers.append(nn.MaxPool2d(2))
    hidden = round(4096 * WIDTH)
    first = nn.Linear(before * (side // 32) ** 2, hidden)
    rest = [nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(first, *rest, nn.Linear(hidden, channels_last_layer))
    return net


def run_vgg16(net: nn.Module, image) -> torch.Tensor:
    return net.classifier[:5](net.features(image).flatten(1))


class Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Identity()
        if before != channels:
            shortcut = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


def resnet18(width: float = WIDTH, in_channels: int = 3) -> nn.Module:
    """torchvision's resnet18, layer4 with stride 1 as in LVS: strides have no weights."""
    net, before = nn.Module(), round(64 * width)
    net.conv1, net.bn1 = nn.Conv2d(in_channels, before, 7, 2, padding=3, bias=False), nn.BatchNorm2d(before)
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        channels = round(64 * 2 ** (stage - 1) * width)
        blocks = Block(before, channels, stride), Block(channels, channels, 1)
        setattr(net, f"layer{stage}", nn.Sequential(*blocks))
        before = channels
    net.fc = nn.Linear(before, 1000)
    return net


def run_resnet18(net: nn.Module, image) -> torch.Tensor:
    x = F.max_pool2d(F.relu(net.bn1(net.conv1(image))), 3, 2, padding=1)
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, nothing at its initial value."""
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


def as_numpy(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def image_of(frames) -> torch.Tensor:
    """torchvision's ToTensor and Normalize."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = (np.asarray(frames) / 255 - mean) / deviation
    return torch.as_tensor(image.transpose(0, 3, 1, 2), dtype=torch.float32)


def sound_of(log_spectrogram) -> torch.Tensor:
    return torch.as_tensor(np.asarray(log_spectrogram).swapaxes(1, 2)[:, None].copy())
