"""Output sizes that the papers print, by network of tests/golden and by layer."""

# OtS figure 2: after conv1 and at conv4_2; pool4's window is the map, fc1 and fc2 have 128 outputs. OtS's L3-Net (3.2)
# has the same convolutions.
OTS_VISION = {"conv1_1": "112x112x64", "conv1_2": "112x112x64", "conv4_2": "14x14x512"}
OTS_AUDIO = {"conv1_1": "128x100x64", "conv1_2": "128x100x64", "conv4_2": "16x12x512", "pool4": "512"}
EMBEDDING = {"fc1": "128", "fc2": "128"}
# L3 figure 2: pool4's window is 28 x 28 and 32 x 24, the sizes of the maps; fc1 has 128 outputs, fc2 two.
L3_VISION = {"conv4_2": "28x28x512", "pool4": "512"}
L3_AUDIO = {"conv4_2": "32x24x512", "pool4": "512"}
# LVS 3.1 and 4: the maps of a frame and of 3 s of sound.
LVS = {"vision.layer4.1.conv2": "14x14x512", "audio.layer4.1.conv2": "17x13x512", "audio_pool": "512"}


def with_streams(vision: dict[str, str], audio: dict[str, str], **top: str) -> dict[str, str]:
    streams = {"vision": vision, "audio": audio}
    return {f"{stream}.{layer}": size for stream, sizes in streams.items() for layer, size in sizes.items()} | top


PRINTED = {
    "avenet": with_streams(OTS_VISION | {"pool4": "512"} | EMBEDDING, OTS_AUDIO | EMBEDDING, fc3="2"),
    "avenet_flow": with_streams({}, OTS_AUDIO | EMBEDDING, fc3="2"),
    "avenet_multiframe": with_streams({}, OTS_AUDIO | EMBEDDING, fc3="2"),
    "avolnet": with_streams(
        OTS_VISION | {"conv5": "14x14x128", "conv6": "14x14x128"}, OTS_AUDIO | EMBEDDING, conv7="14x14x1"
    ),
    "l3net_stride1": with_streams(L3_VISION, L3_AUDIO, fc1="128", fc2="2"),
    "l3net_stride2": with_streams(OTS_VISION | {"pool4": "512"}, OTS_AUDIO, fc1="128", fc2="2"),
    "supervised": with_streams(  # L3 3.2: 512 x 128 and 128 x classes on L3-Net's trunks
        L3_VISION | {"fc1": "128", "fc2": "34"}, L3_AUDIO | {"fc1": "128", "fc2": "34"}
    ),
    "lvs": LVS,
    "attention10k": {},
    "multisensory": {},
    "vgg16": {"fc6": "4096", "fc7": "4096"},
}


def add_column(table: str, name: str) -> str:
    """Add a column to a layer table: the size that the paper prints, if any."""
    lines = table.splitlines()
    printed = {"layer": "paper", **PRINTED[name]}
    width = max(map(len, lines))
    rows = [f"{line:<{width}}  {printed.pop(line.split()[0], '')}".rstrip() for line in lines]
    assert not printed, f"{name} has no layers {sorted(printed)}"
    return "\n".join(rows) + "\n"


def differences(table: str, name: str) -> dict[str, tuple[str, str]]:
    """Return the layers whose output size differs from the printed one: output and printed size."""
    outputs = {line.split()[0]: line.split()[1] for line in table.splitlines()[1:-1]}
    return {layer: (outputs[layer], size) for layer, size in PRINTED[name].items() if outputs[layer] != size}
