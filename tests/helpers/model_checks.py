"""Checks that all models share, and the small models and batches on which they run."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avlearn import config as configs
from avlearn.types import Batch, InputSpec, Outputs
from configs import base
from tests.helpers import printed_sizes
from tests.helpers.paths import GOLDEN

SMALL = InputSpec(frame_pixels=64, pool=4)  # 64 x 64 frames, 50 x 64 log-spectrograms
# Parameters of the tower without conv1_1, counted by hand: seven 3 x 3 kernels without bias; scale and bias of two
# normalisations in each block.
TOWER_PARAMETERS = 9 * (64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512) + 2 * 2 * (
    64 + 128 + 256 + 512
)
# Parameters of ResNet-18 without conv1, counted by hand: 3 x 3 kernels of two blocks in each stage, 1 x 1 kernels of
# three shortcuts, and scale and bias of five normalisations in each stage (layer1 has four, and bn1 precedes it).
RESNET_PARAMETERS = (
    9 * (4 * 64**2 + 64 * 128 + 3 * 128**2 + 128 * 256 + 3 * 256**2 + 256 * 512 + 3 * 512**2)
    + (64 * 128 + 128 * 256 + 256 * 512)
    + 2 * 5 * (64 + 128 + 256 + 512)
)
CONV1_1_PARAMETERS = {"vision": 9 * 3 * 64, "audio": 9 * 1 * 64}


def make_model(network: type[nnx.Module], inputs: InputSpec = SMALL, **changes) -> nnx.Module:
    """Build a network at a sixteenth of the width, with `changes` to the other settings of its model section."""
    # The papers' settings that all networks share, and the network's own keys.
    config = configs.load(network.__module__.rpartition(".")[2]).model
    config.update(base.get_config().model)
    config.update({"width": 1 / 16, **changes})
    return network(config, inputs, rngs=fast_rngs())


def fast_rngs() -> nnx.Rngs:
    """Return Rngs whose draws compile ten times as fast on a CPU as the default's."""
    return nnx.Rngs(jax.random.key(0, impl="rbg"))


def randomised(make_model: Callable[[], nnx.Module], seed: int = 0) -> nnx.Module:
    """Return the network that `make_model` builds, with random parameters and statistics; nothing is compiled.

    Kernels have He's variance, scales and variances are uniform in .5 to 1.5, all else is drawn from N(0, .1).
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
    """Return random pairs of the sizes in `inputs`, alternately positive and negative."""
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


def run(model: nnx.Module, inputs: Batch | jax.Array) -> Outputs | jax.Array:
    """Call a compiled model; in training mode its running statistics are updated."""
    outputs, stats = _run(*nnx.split(model), (inputs,), "__call__")
    nnx.update(model, stats)
    return outputs


def features(model: nnx.Module, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Return the image and audio features that `compare` takes."""
    return _both_streams(model, batch, "image_features", "audio_features")


def embeddings(model: nnx.Module, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Return the image and audio retrieval vectors."""
    return _both_streams(model, batch, "embed_image", "embed_audio")


def _both_streams(model: nnx.Module, batch: Batch, image_method: str, audio_method: str) -> tuple[jax.Array, jax.Array]:
    graphdef, state = nnx.split(model)
    image, _ = _run(graphdef, state, batch.image_inputs, image_method)
    audio, _ = _run(graphdef, state, (batch.audio_inputs,), audio_method)
    return image, audio


@functools.partial(jax.jit, static_argnums=(0, 3))
def _run(graphdef, state, inputs, method: str):
    model = nnx.merge(graphdef, state)
    return getattr(model, method)(*inputs), nnx.state(model, nnx.BatchStat)


def assert_matches_reference(
    make_reference: str,
    model: nnx.Module,
    batch: Batch,
    *,
    training: bool,
    scaling: str = "symmetric",
    atol: float = 1e-4,
    **settings,
) -> None:
    """Check outputs, and in training the updated running statistics, against PyTorch in float64.

    Args:
      make_reference: name in tests/helpers/reference_networks.py.
      model: the model, with random weights.
      batch: its inputs.
      training: normalise with the batch's statistics.
      scaling: of the frames.
      atol: allowed difference of the outputs.
      **settings: arguments of `make_reference`.
    """
    torch = pytest.importorskip("torch")
    from tests.helpers import reference_networks

    net = getattr(reference_networks, make_reference)(**settings).double().train(training)
    reference_networks.load(net, model)
    batch_stats = {}

    def record(name, module, inputs):
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        batch_stats[name] = inputs[0].mean(axes), inputs[0].var(axes, correction=0)  # torch's update is unbiased

    for name, module in net.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(functools.partial(record, name))
    before = reference_networks.as_numpy(net)
    images = [reference_networks.image_of(image, scaling) for image in batch.image_inputs]
    with torch.no_grad():
        expected = net(*images, reference_networks.sound_of(batch.audio_inputs))
    model.set_attributes(use_running_average=not training)
    outputs = run(model, batch)
    for field in dataclasses.fields(outputs):
        if field.name in expected:
            np.testing.assert_allclose(
                getattr(outputs, field.name), expected[field.name].numpy(), atol=atol, err_msg=field.name
            )
        else:
            assert getattr(outputs, field.name) is None
    layers = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
    normalisations = {name: layer for name, layer in layers.items() if isinstance(layer, nnx.BatchNorm)}
    assert normalisations.keys() == batch_stats.keys()
    for name, layer in normalisations.items():
        for ours, theirs, now in zip(("mean", "var"), ("running_mean", "running_var"), batch_stats[name], strict=True):
            kept = before[f"{name}.{theirs}"]
            wanted = 0.9 * kept + 0.1 * now.numpy() if training else kept
            np.testing.assert_allclose(getattr(layer, ours)[...], wanted, atol=1e-4, err_msg=name)


def assert_all_pairs_match_single_pairs(model: nnx.Module, batch: Batch) -> None:
    """Check that `compare` on all pairs at once equals `compare` on each pair, and the diagonal the model's logits."""
    model.eval()
    image, audio = features(model, batch)
    all_pairs = model.compare(image[:, None], audio[None])
    looped = [
        [model.compare(image[i : i + 1], audio[j : j + 1])[0] for j in range(len(audio))] for i in range(len(image))
    ]
    np.testing.assert_allclose(all_pairs, np.array(looped), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.diag(all_pairs), run(model, batch).logit, rtol=1e-5, atol=1e-5)


def assert_unit_embeddings(model: nnx.Module, batch: Batch, image: jax.Array, audio: jax.Array) -> None:
    """Check that outputs and retrieval vectors are these image and audio vectors, scaled to length one."""
    outputs = run(model, batch)
    both = (outputs.image_embedding, outputs.audio_embedding)
    for output, embedded, vectors in zip(both, embeddings(model, batch), (image, audio), strict=True):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(output, unit, atol=1e-5)
        np.testing.assert_allclose(embedded, unit, atol=1e-5)


def run_in_both_types(make_model: Callable[..., nnx.Module], batch: Batch) -> tuple[Outputs, Outputs]:
    """Return the outputs of a network in float32 and of the same in bfloat16; check that these are float32, too."""
    single, half = (
        run(randomised(functools.partial(make_model, dtype=dtype)), batch) for dtype in ("float32", "bfloat16")
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("float32")}
    return single, half


def assert_golden(name: str, table: str) -> None:
    """Check a layer table against the file in tests/golden, and its sizes against those that the paper prints.

    After a deliberate change, replace the file with the printed table.
    """
    golden = GOLDEN / f"{name}.txt"
    table = printed_sizes.add_column(table, name)
    print(table)
    assert not printed_sizes.differences(table, name)
    assert table == golden.read_text(), f"{golden.name} differs; the network's table is printed above"


def parameter_sum(table: str) -> int:
    """Add up the lines of a layer table, without its own total."""
    return sum(int(line.split()[-1].replace(",", "")) for line in table.splitlines()[1:-1])
