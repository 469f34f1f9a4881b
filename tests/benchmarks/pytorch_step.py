"""The training steps in plain PyTorch, with torch.compile, channels-last, autocast and fused Adam."""

import functools
import pathlib
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from avlearn.losses import tri_map
from avlearn.types import InputSpec
from tests.helpers import reference_networks

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def correspondence_loss(net: nn.Module, image: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Compute the logistic loss of pairs that are alternately positive and negative."""
    corresponds = (torch.arange(len(image), device=image.device) % 2 == 0).float()
    return F.binary_cross_entropy_with_logits(net(image, sound)["logit"].float(), corresponds)


def lvs_loss(net: nn.Module, image: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Compute the released objective of LVS on the tri-map."""
    cells, sound = net.vectors(image, sound)
    maps = torch.einsum("idhw,jd->ijhw", cells, sound).float()
    mask = torch.sigmoid((maps - tri_map.POSITIVE_THRESHOLD) / tri_map.TAU)
    positive = (mask * maps).sum((2, 3)) / mask.sum((2, 3))
    own = torch.einsum("iihw->ihw", maps)
    background = torch.sigmoid((tri_map.NEGATIVE_THRESHOLD - own) / tri_map.TAU)
    hard = (background * own).sum((1, 2)) / background.sum((1, 2))
    same = torch.eye(len(maps), dtype=torch.bool, device=maps.device)
    logits = torch.cat([positive.diag()[:, None], positive.masked_fill(same, -torch.inf), hard[:, None]], 1)
    return F.cross_entropy(logits / tri_map.TEMPERATURE, torch.zeros(len(maps), dtype=int, device=maps.device))


NETWORKS = {
    "l3net": (functools.partial(reference_networks.L3Net, 1.0, replicated=True), correspondence_loss),
    "avenet": (functools.partial(reference_networks.avenet, 1.0, replicated=True), correspondence_loss),
    "avolnet": (functools.partial(reference_networks.AvolNet, 1.0, relu=False, replicated=True), correspondence_loss),
    "lvs": (functools.partial(reference_networks.Lvs, 1.0), lvs_loss),
}


def step(name: str, inputs: InputSpec, pairs: int, dtype: str) -> Callable[[], None]:
    """Return a step on random inputs at width 1, compiled, on the GPU if there is one; it waits for the result."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make, loss = NETWORKS[name]
    net = make().to(device=device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, weight_decay=1e-5, fused=True)
    image = torch.randn(pairs, 3, inputs.frame_pixels, inputs.frame_pixels, device=device)
    sound = torch.randn(pairs, 1, *reversed(inputs.spectrogram_shape), device=device)
    image, sound = (x.contiguous(memory_format=torch.channels_last) for x in (image, sound))
    compiled = torch.compile(loss)

    def one_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=DTYPES[dtype], enabled=dtype != "float32"):
            value = compiled(net, image, sound)
        value.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return one_step


def peak_mib() -> float | None:
    """Return the most memory that PyTorch held on the GPU since the last call, MiB; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return peak
