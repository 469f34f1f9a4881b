"""ResNet-18: torchvision's names and shapes, initial weights, inputs and pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import maximum_filter

from avlearn.models.layers.resnet import BasicBlock, MaxPool3x3, ResNet18, imagenet_input
from configs.base import get_config
from tests.helpers.model_checks import RESNET_PARAMETERS, fast_rngs, run


def make_resnet(in_channels: int = 3, **changes) -> ResNet18:
    config = get_config().model
    config.update({"width": 1 / 16, **changes})
    return ResNet18(in_channels, config, rngs=fast_rngs())


def torchvision_shapes(in_channels: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of torchvision's resnet18 without fc; convolutions are (out, in, height, width)."""
    shapes = {"conv1.weight": (64, in_channels, 7, 7), "bn1.weight": (64,), "bn1.bias": (64,)}
    before = 64
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            for layer, inputs in (("1", before), ("2", channels)):
                shapes[f"{name}.conv{layer}.weight"] = (channels, inputs, 3, 3)
                shapes |= {f"{name}.bn{layer}.{kind}": (channels,) for kind in ("weight", "bias")}
            if block == 0 and stage > 1:
                shapes[f"{name}.downsample.0.weight"] = (channels, before, 1, 1)
                shapes |= {f"{name}.downsample.1.{kind}": (channels,) for kind in ("weight", "bias")}
            before = channels
    return shapes


@pytest.mark.parametrize("in_channels", [1, 3])
def test_names_and_shapes_are_torchvisions(in_channels):
    params = nnx.state(nnx.eval_shape(lambda: make_resnet(in_channels, width=1.0)), nnx.Param)
    found = {}
    for path, variable in nnx.to_flat_state(params):
        shape = variable.get_value().shape
        *layer, kind = path
        kind = {"kernel": "weight", "scale": "weight", "bias": "bias"}[kind]
        found[".".join([*layer, kind])] = shape if len(shape) == 1 else (shape[3], shape[2], *shape[:2])
    assert found == torchvision_shapes(in_channels)
    total = sum(int(np.prod(shape)) for shape in found.values())
    # torchvision's resnet18 has 11,689,512 parameters, and its fc 512 x 1000 + 1000.
    conv1 = 49 * in_channels * 64
    assert total == conv1 + RESNET_PARAMETERS == 11_689_512 - 513_000 - 49 * (3 - in_channels) * 64


def test_max_pool_agrees_with_scipy():
    x = np.random.default_rng(0).normal(size=(2, 7, 10, 3)).astype(np.float32)
    expected = maximum_filter(x, size=(1, 3, 3, 1), mode="constant", cval=-np.inf)[:, ::2, ::2]
    np.testing.assert_array_equal(MaxPool3x3()(jnp.asarray(x)), expected)
    gradient = jax.grad(lambda x: (MaxPool3x3()(x) ** 2).sum())(jnp.asarray(x))
    assert np.isfinite(gradient).all()


def test_initial_weights_are_those_of_the_released_code():
    block = BasicBlock(64, 256, 2, get_config().model, rngs=fast_rngs())
    first, second = np.asarray(block.conv1.kernel[...]), np.asarray(block.conv2.kernel[...])
    assert (first.shape, second.shape) == ((3, 3, 64, 256), (3, 3, 256, 256))
    for kernel in (first, second):  # fan-out, not fan-in
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.01)
    layers = [block.bn1, block.bn2, getattr(block.downsample, "1")]
    scales = np.concatenate([np.asarray(layer.scale[...]) for layer in layers])
    assert scales.shape == (3 * 256,)
    assert scales.mean() == pytest.approx(1, abs=0.003)
    assert scales.std() == pytest.approx(0.02, rel=0.1)


def test_imagenet_input_by_hand():
    frames = jnp.array([[[[0, 0, 0], [255, 255, 255]]]], jnp.uint8)
    expected = [[-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]]
    np.testing.assert_allclose(imagenet_input(frames)[0, 0], expected, rtol=1e-5)


def test_receptive_field_of_cell_n_is_centred_on_pixel_16_n():
    """The receptive field is where the gradient is not 0; weights of one sign keep it from cancelling."""
    tower = make_resnet(1)
    tower.eval()
    for _, variable in nnx.to_flat_state(nnx.state(tower, nnx.Param)):
        variable.set_value(jnp.abs(variable.get_value()))
    x = jax.random.normal(jax.random.key(0), (8, 400, 16, 1))  # the receptive field has 339 rows
    row = 12
    graphdef, state = nnx.split(tower)

    @jax.jit
    def gradient(x):
        return jax.grad(lambda x: nnx.merge(graphdef, state)(x)[:, row].sum())(x)

    rows = np.flatnonzero(np.abs(np.asarray(gradient(x))).max((0, 2, 3)))
    assert len(rows) == rows[-1] - rows[0] + 1 == 339
    assert (rows[0] + rows[-1]) / 2 == 16 * row


def test_parameters_and_statistics_are_float32_and_the_map_is_not_negative():
    tower = make_resnet(dtype="bfloat16")
    x = np.random.default_rng(0).normal(size=(2, 33, 48, 3)).astype(np.float32)
    out = run(tower, x)
    assert out.dtype == jnp.bfloat16
    assert out.shape == (2, 3, 3, 32)  # halved four times, rounded up
    assert (np.asarray(out, np.float32) >= 0).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(tower))} == {jnp.dtype("float32")}


def test_bad_config_is_refused():
    with pytest.raises(ValueError, match=r"width is 0\.0; use a number above 0"):
        make_resnet(width=0.0)
