"""The networks in plain NumPy, float64, written from the papers' description, and checks of a model against it.

The reference reads parameters by name from the network under test and uses nothing else of it.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from avlearn.types import Batch, InputSpec, Outputs
from configs import base
from tests.helpers import printed_sizes
from tests.helpers.paths import GOLDEN

SMALL = InputSpec(frame_pixels=64, pool=4)  # 64 x 64 frames, 50 x 64 log-spectrograms
# The tower by hand, without conv1_1: seven 3 x 3 kernels without bias; scale and bias of two normalisations a block.
TOWER_PARAMETERS = 9 * (64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512) + 2 * 2 * (
    64 + 128 + 256 + 512
)
# ResNet-18 by hand, without conv1: 3 x 3 kernels of two blocks a stage, 1 x 1 kernels of three shortcuts, and scale and
# bias of five normalisations a stage that has a shortcut; layer1 has four, and bn1 stands before it.
RESNET_PARAMETERS = (
    9 * (4 * 64**2 + 64 * 128 + 3 * 128**2 + 128 * 256 + 3 * 256**2 + 256 * 512 + 3 * 512**2)
    + (64 * 128 + 128 * 256 + 256 * 512)
    + 2 * 5 * (64 + 128 + 256 + 512)
)
CONV1_1_PARAMETERS = {"vision": 9 * 3 * 64, "audio": 9 * 1 * 64}


@dataclasses.dataclass
class Reference:
    """Forward passes with the weights of `model`; `training` selects batch or running statistics."""

    model: nnx.Module
    training: bool
    stride: int = 2
    momentum: float = 0.9
    running: dict = dataclasses.field(default_factory=dict)

    def weights(self, path: str) -> np.ndarray:
        node = self.model
        for name in path.split("."):
            node = getattr(node, name)
        return np.asarray(node[...], np.float64)

    def tower(self, stream: str, x: np.ndarray, blocks: tuple[int, ...] = (1, 2, 3, 4)) -> np.ndarray:
        """conv4_2 of a stream: [batch, height, width, channels] -> [batch, rows, cols, 8 x channels].

        Fewer blocks: their output, pooled where it is not that of block 4. With frames before the height, a kernel of
        three frames, which conv1_1 takes in strides too; only pool3 pools frames.
        """
        for block in blocks:
            for layer in (1, 2):
                stride = self.stride if (block, layer) == (1, 1) else 1
                before = 0 if stride == 2 else 1
                kernel = self.weights(f"{stream}.conv{block}_{layer}.kernel")
                x = (convolve if x.ndim == 4 else convolve_video)(x, kernel, stride, before)
                x = np.maximum(self.batch_norm(f"{stream}.bn{block}_{layer}", x), 0)
            if block < 4:
                x = pool(x) if x.ndim == 4 else pool_video(x, 2 if block == 3 else 1)
        return x

    def resnet(self, stream: str, x: np.ndarray) -> np.ndarray:
        """layer4 of a stream: [batch, height, width, channels] -> [batch, rows, cols, 8 x channels]."""

        def conv(path: str, x: np.ndarray, stride: int) -> np.ndarray:
            kernel = self.weights(f"{stream}.{path}.kernel")
            return convolve(x, kernel, stride, len(kernel) // 2, len(kernel) // 2)

        x = np.maximum(self.batch_norm(f"{stream}.bn1", conv("conv1", x, 2)), 0)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        x = sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2].max((4, 5))
        for stage, strides in {1: (1, 1), 2: (2, 1), 3: (2, 1), 4: (1, 1)}.items():
            for block, stride in enumerate(strides):
                path = f"layer{stage}.{block}"
                out = np.maximum(self.batch_norm(f"{stream}.{path}.bn1", conv(f"{path}.conv1", x, stride)), 0)
                out = self.batch_norm(f"{stream}.{path}.bn2", conv(f"{path}.conv2", out, 1))
                if stage > 1 and block == 0:
                    x = self.batch_norm(f"{stream}.{path}.downsample.1", conv(f"{path}.downsample.0", x, stride))
                x = np.maximum(out + x, 0)
        return x

    def batch_norm(self, path: str, x: np.ndarray) -> np.ndarray:
        mean, var = self.weights(f"{path}.mean"), self.weights(f"{path}.var")
        if self.training:
            of_channel = tuple(range(x.ndim - 1))
            batch_mean, batch_var = x.mean(of_channel), x.var(of_channel)
            keep = self.momentum
            self.running[path] = (keep * mean + (1 - keep) * batch_mean, keep * var + (1 - keep) * batch_var)
            mean, var = batch_mean, batch_var
        return (x - mean) / np.sqrt(var + 1e-5) * self.weights(f"{path}.scale") + self.weights(f"{path}.bias")

    def linear(self, path: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights(f"{path}.kernel").squeeze() + self.weights(f"{path}.bias")

    def embedding(self, stream: str, cells: np.ndarray) -> np.ndarray:
        """fc2 of a stream from its conv4_2 on, not normalised."""
        pooled = cells.reshape(len(cells), -1, cells.shape[-1]).max(1)
        hidden = np.maximum(self.linear(f"{stream}.fc1", pooled), 0)
        return self.linear(f"{stream}.fc2", hidden)

    def l3net(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        image = self.tower("vision", image_of(frames)).max((1, 2))
        audio = self.tower("audio", image_of_sound(log_spectrogram)).max((1, 2))
        logits = self.linear("fc2", np.maximum(self.linear("fc1", np.concatenate([image, audio], 1)), 0))
        return {
            "logit": two_way_log_odds(logits),
            "image_embedding": unit(image),
            "audio_embedding": unit(audio),
        }

    def avenet(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        return self.by_distance(self.tower("vision", image_of(frames)), log_spectrogram)

    def avenet_multiframe(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        return self.by_distance(self.tower("vision", image_of(frames)), log_spectrogram)

    def avenet_flow(self, frames: np.ndarray, flow: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        image = self.tower("vision.image", image_of(frames), (1, 2, 3))
        motion = self.tower("vision.flow", image_of(flow), (1, 2, 3))
        return self.by_distance(self.tower("vision", np.concatenate([image, motion], -1), (4,)), log_spectrogram)

    def by_distance(self, seen: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        """AVE-Net from its vision subnetwork's conv4_2 on."""
        vectors = {}
        for stream, x in (("vision", seen), ("audio", self.tower("audio", image_of_sound(log_spectrogram)))):
            vectors[stream] = unit(self.embedding(stream, x))
        distance = np.linalg.norm(vectors["vision"] - vectors["audio"], axis=1)
        logits = distance[:, None] * self.weights("fc3.kernel") + self.weights("fc3.bias")
        return {
            "logit": two_way_log_odds(logits),
            "image_embedding": vectors["vision"],
            "audio_embedding": vectors["audio"],
        }

    def supervised(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        softmax = {}
        for stream, x in (("vision", image_of(frames)), ("audio", image_of_sound(log_spectrogram))):
            exponentials = np.exp(self.embedding(stream, self.tower(stream, x)))
            softmax[stream] = exponentials / exponentials.sum(1, keepdims=True)
        product = (softmax["vision"] * softmax["audio"]).sum(1)
        return {
            "logit": np.log(product / (1 - product)),
            "image_embedding": unit(softmax["vision"]),
            "audio_embedding": unit(softmax["audio"]),
        }

    def lvs(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        cells = unit(self.resnet("vision", imagenet_image_of(frames)))
        sound = unit(self.resnet("audio", image_of_sound(log_spectrogram)).max((1, 2)))
        cosines = np.stack([cell_map @ vector for cell_map, vector in zip(cells, sound, strict=True)])
        mask = 1 / (1 + np.exp(-(cosines - 0.65) / 0.03))
        response = (mask * cosines).sum((1, 2)) / mask.sum((1, 2))
        return {
            "logit": (response - 0.65) / 0.03,
            "image_embedding": unit(cells.max((1, 2))),
            "audio_embedding": sound,
            "heat_map": (cosines - 0.65) / 0.03,
        }

    def attention10k(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        cells = self.resnet("vision", imagenet_image_of(frames))
        sound = unit(self.resnet("audio", image_of_sound(log_spectrogram)).max((1, 2)))
        query = unit(self.linear("sound_fc2", np.maximum(self.linear("sound_fc1", sound), 0)))
        maps = np.maximum((unit(cells) * query[:, None, None]).sum(-1), 0)
        attention = np.exp(maps) / np.exp(maps).sum((1, 2), keepdims=True)
        seen = np.maximum((cells * attention[..., None]).sum((1, 2)), 0)
        seen = unit(self.linear("vision_fc2", np.maximum(self.linear("vision_fc1", seen), 0)))
        return {
            "logit": np.sqrt(2) - np.linalg.norm(seen - sound, axis=1),
            "image_embedding": unit(cells.max((1, 2))),
            "audio_embedding": sound,
            "heat_map": np.log(attention * attention[0].size),
        }

    def multisensory(
        self, frames: np.ndarray, log_spectrogram: np.ndarray, waveform: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Owens and Efros's network; the log-spectrogram is not heard."""
        x = np.sign(waveform) * np.log(1 + 255 * np.abs(waveform.astype(np.float64))) / np.log(256)
        x = np.maximum(self.same_conv_bn("sound.conv1_1", x[..., None], (4,)), 0)
        x = x[:, : x.shape[1] // 4 * 4].reshape(len(x), -1, 4, x.shape[-1]).max(2)
        for name in ("conv2_1", "conv3_1", "conv4_1"):
            x = self.residual(f"sound.{name}", x, (4,))
        seen = np.maximum(self.same_conv_bn("vision.conv1", image_of(frames), (2, 2, 2)), 0)
        padded = np.pad(seen, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        seen = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max((5, 6))
        seen = self.residual("vision.conv2_1", seen, (1, 1, 1))
        seen = self.residual("vision.conv2_2", seen, (2, 2, 2))
        steps = seen.shape[1]
        bounds = [x.shape[1] * step // steps for step in range(steps + 1)]
        heard = np.stack([x[:, bounds[i] : bounds[i + 1]].max(1) for i in range(steps)], 1)
        heard = np.maximum(self.same_conv_bn("sound.conv5_1", heard, (1,)), 0)
        heard = np.broadcast_to(heard[:, :, None, None], (*seen.shape[:-1], heard.shape[-1]))
        half = seen.shape[-1]
        shortcut = np.concatenate([seen, heard[..., -half:]], -1)
        x = np.maximum(self.same_conv_bn("fusion.merge1", np.concatenate([seen, heard], -1), (1, 1, 1)), 0)
        x = same_convolve(x, self.weights("fusion.merge2.kernel"), (1, 1, 1)) + self.weights("fusion.merge2.bias")
        x = np.maximum(self.batch_norm("fusion.bn", x + shortcut), 0)
        for block, strides in {3: (1, 1, 1), 4: (2, 2, 2), 5: (1, 2, 2)}.items():
            x = self.residual(f"conv{block}_1", x, strides)
            x = self.residual(f"conv{block}_2", x, (1, 1, 1))
        cells = x @ self.weights("logit.kernel")[:, 0] + self.weights("logit.bias")
        return {"logit": cells.mean((1, 2, 3)), "heat_map": cells.mean(1)}

    def same_conv_bn(self, path: str, x: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
        return self.batch_norm(f"{path}.bn", same_convolve(x, self.weights(f"{path}.conv.kernel"), strides))

    def residual(self, path: str, x: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
        out = np.maximum(self.same_conv_bn(f"{path}.first", x, strides), 0)
        once = (1,) * len(strides)
        out = same_convolve(out, self.weights(f"{path}.second.kernel"), once) + self.weights(f"{path}.second.bias")
        if out.shape[-1] != x.shape[-1]:
            short = self.same_conv_bn(f"{path}.shortcut", x, strides)
        else:
            short = x[(slice(None), *(slice(None, None, stride) for stride in strides))]
        return np.maximum(self.batch_norm(f"{path}.bn", out + short), 0)

    def avolnet(self, frames: np.ndarray, log_spectrogram: np.ndarray) -> dict[str, np.ndarray]:
        cells = np.maximum(self.linear("vision.conv5", self.tower("vision", image_of(frames))), 0)
        cells = self.linear("vision.conv6", cells)
        audio = self.tower("audio", image_of_sound(log_spectrogram)).max((1, 2))
        audio = self.linear("audio.fc2", np.maximum(self.linear("audio.fc1", audio), 0))
        product = np.stack([cell_map @ sound for cell_map, sound in zip(cells, audio, strict=True)])
        heat_map = product * self.weights("conv7.kernel").item() + self.weights("conv7.bias").item()
        probability = (1 / (1 + np.exp(-heat_map))).max((1, 2))  # sigmoid, then maximum, as the paper has it
        return {
            "logit": np.log(probability) - np.log1p(-probability),
            "image_embedding": unit(cells.max((1, 2))),
            "audio_embedding": unit(audio),
            "heat_map": heat_map,
        }


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int, before: int, after: int = 1) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    windows = sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(windows, kernel, axes=[(4, 5, 3), (0, 1, 2)])


def convolve_video(x: np.ndarray, kernel: np.ndarray, stride: int, before: int) -> np.ndarray:
    """As `convolve`, of frames; one frame of zeros on either side."""
    padded = np.pad(x, ((0, 0), (1, 1), (before, 1), (before, 1), (0, 0)))
    windows = sliding_window_view(padded, kernel.shape[:3], axis=(1, 2, 3))[:, ::stride, ::stride, ::stride]
    return np.tensordot(windows, kernel, axes=[(5, 6, 7, 4), (0, 1, 2, 3)])


def same_convolve(x: np.ndarray, kernel: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """A convolution over every axis of the kernel, padded as TensorFlow's SAME: of an odd padding, more at the end."""
    axes = kernel.ndim - 2
    padding, outputs = [(0, 0)], []
    for side, taps, stride in zip(x.shape[1:-1], kernel.shape, strides, strict=False):
        outputs.append(-(-side // stride))
        missing = max(0, (outputs[-1] - 1) * stride + taps - side)
        padding.append((missing // 2, missing - missing // 2))
    padded = np.pad(x, [*padding, (0, 0)])
    windows = sliding_window_view(padded, kernel.shape[:axes], axis=tuple(range(1, axes + 1)))
    windows = windows[(slice(None), *(slice(None, None, stride) for stride in strides))]
    return np.tensordot(windows, kernel, axes=[(*range(axes + 2, 2 * axes + 2), axes + 1), tuple(range(axes + 1))])


def pool_video(x: np.ndarray, frames: int) -> np.ndarray:
    """Each frame pooled, then the maximum of so many frames, a remainder dropped."""
    pooled = np.stack([pool(frame) for frame in np.moveaxis(x, 1, 0)], 1)
    return np.stack([pooled[:, i : i + frames].max(1) for i in range(0, x.shape[1] // frames * frames, frames)], 1)


def pool(x: np.ndarray) -> np.ndarray:
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def image_of(frames: np.ndarray) -> np.ndarray:
    return frames.astype(np.float64) / 127.5 - 1


def imagenet_image_of(frames: np.ndarray) -> np.ndarray:
    return (frames.astype(np.float64) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def image_of_sound(log_spectrogram: np.ndarray) -> np.ndarray:
    return np.moveaxis(log_spectrogram.astype(np.float64), 1, 2)[..., None]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def two_way_log_odds(logits: np.ndarray) -> np.ndarray:
    """Log-odds of the second class of a softmax, by way of its probability."""
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.log(probability[:, 1]) - np.log(probability[:, 0])


def randomised(make_model: Callable[[], nnx.Module], seed: int = 0) -> nnx.Module:
    """The network that `make_model` makes, with random weights, nothing at its initial value, and nothing to compile.

    Kernels have He's variance, factors and variances are uniform in .5 to 1.5, the rest is N(0, .1).
    """
    rng = np.random.default_rng(seed)
    model = nnx.eval_shape(make_model)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        shape = variable.get_value().shape
        if path[-1] == "kernel":
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        else:
            values = rng.uniform(0.5, 1.5, shape) if path[-1] in ("scale", "var") else rng.normal(0, 0.1, shape)
        variable.set_value(jnp.asarray(values, jnp.float32))
    return model


def small_batch(inputs: InputSpec, pairs: int = 4, seed: int = 0) -> Batch:
    """Random pairs of the size of `inputs`; positives and negatives in turn."""
    rng = np.random.default_rng(seed)
    return Batch(
        frames=jnp.asarray(rng.integers(0, 256, (pairs, *inputs.frame_shape)), jnp.uint8),
        log_spectrogram=jnp.asarray(rng.normal(-0.4, 0.4, (pairs, *inputs.spectrogram_shape)), jnp.float32),
        corresponds=jnp.arange(pairs) % 2 == 0,
        video=jnp.arange(pairs),
        weight=jnp.ones(pairs),
        labels=jnp.eye(pairs, inputs.classes, dtype=bool) if inputs.classes else None,
        flow=jnp.asarray(rng.integers(0, 256, (pairs, *inputs.flow_shape)), jnp.uint8) if inputs.flow_fields else None,
        waveform=jnp.asarray(rng.normal(0, 0.1, (pairs, inputs.waveform_samples)), jnp.float32)
        if inputs.waveform_samples
        else None,
    )


def make_model(network: type[nnx.Module], inputs: InputSpec = SMALL, **changes) -> nnx.Module:
    """A network of a sixteenth of the width, with `changes` to the other settings of its model section."""
    config = base.get_config().model
    config.update({"width": 1 / 16, **changes})
    return network(config, inputs, rngs=fast_rngs())


def fast_rngs() -> nnx.Rngs:
    """Rngs whose draws compile ten times as fast on a CPU as the default's."""
    return nnx.Rngs(jax.random.key(0, impl="rbg"))


def run(model: nnx.Module, given: Batch | jax.Array) -> Outputs | jax.Array:
    """`model(given)`, compiled; in training the running statistics move."""
    outputs, stats = _run(*nnx.split(model), (given,), "__call__")
    nnx.update(model, stats)
    return outputs


def features(model: nnx.Module, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """What `compare` takes."""
    return _both_streams(model, batch, "image_features", "audio_features")


def embeddings(model: nnx.Module, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The retrieval vectors."""
    return _both_streams(model, batch, "embed_image", "embed_audio")


def _both_streams(model: nnx.Module, batch: Batch, of_image: str, of_audio: str) -> tuple[jax.Array, jax.Array]:
    graphdef, state = nnx.split(model)
    seen, heard = batch.image_inputs, (batch.audio_inputs,)
    return _run(graphdef, state, seen, of_image)[0], _run(graphdef, state, heard, of_audio)[0]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _run(graphdef, state, given, method: str):
    model = nnx.merge(graphdef, state)
    return getattr(model, method)(*given), nnx.state(model, nnx.BatchStat)


def assert_agrees(name: str, model: nnx.Module, batch: Batch, *, training: bool, stride: int = 2) -> None:
    """The network's outputs, and in training its new running statistics, are the reference's to 1e-4."""
    reference = Reference(model, training, stride)
    given = (*batch.image_inputs, batch.log_spectrogram, *(() if batch.waveform is None else (batch.waveform,)))
    expected = getattr(reference, name)(*map(np.asarray, given))
    model.set_attributes(use_running_average=not training)
    outputs = run(model, batch)
    for field in dataclasses.fields(outputs):
        if field.name in expected:
            np.testing.assert_allclose(
                getattr(outputs, field.name), expected[field.name], atol=1e-4, err_msg=field.name
            )
        else:
            assert getattr(outputs, field.name) is None
    normalisations = sum(isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_modules(model))
    assert len(reference.running) == (normalisations if training else 0)
    for path, (mean, var) in reference.running.items():
        np.testing.assert_allclose(reference.weights(f"{path}.mean"), mean, atol=1e-4, err_msg=path)
        np.testing.assert_allclose(reference.weights(f"{path}.var"), var, atol=1e-4, err_msg=path)


def assert_all_pairs_equal_loop(model: nnx.Module, batch: Batch) -> None:
    """`compare` on all pairs at once is `compare` on each pair alone, and its diagonal is the network's own logit."""
    model.eval()
    image, audio = features(model, batch)
    all_pairs = model.compare(image[:, None], audio[None])
    looped = [
        [model.compare(image[i : i + 1], audio[j : j + 1])[0] for j in range(len(audio))] for i in range(len(image))
    ]
    np.testing.assert_allclose(all_pairs, np.array(looped), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.diag(all_pairs), run(model, batch).logit, rtol=1e-5, atol=1e-5)


def assert_golden(name: str, table: str) -> None:
    """The layer table is the one in tests/golden, and its sizes are those that the paper prints.

    After a deliberate change, replace the file by what is printed.
    """
    golden = GOLDEN / f"{name}.txt"
    table = printed_sizes.beside(table, name)
    print(table)
    assert not printed_sizes.different(table, name)
    assert table == golden.read_text(), f"{golden.name} differs; the network's table is printed above"


def parameter_sum(table: str) -> int:
    """Sum over the lines of a layer table, without its own total."""
    return sum(int(line.split()[-1].replace(",", "")) for line in table.splitlines()[1:-1])
