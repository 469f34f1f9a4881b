"""Imported weights compute the same as in PyTorch and Keras, and files that do not fit are refused."""

import argparse
import functools
import importlib
import json
import pathlib
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from avlearn import cli, main
from avlearn import config as configs
from avlearn.build import build_network
from avlearn.commands import import_weights
from avlearn.runs.checkpoint import Checkpoints
from avlearn.training import step as steps
from avlearn.weights import files, layouts, published
from tests.helpers.model_checks import run, small_batch

torch = pytest.importorskip("torch")
from tests.helpers import reference_networks  # noqa: E402

# By network of the replication: our layers after the towers, and their published names.
REPLICATED = {
    "avenet": {"vision.fc1": "img_fc1", "vision.fc2": "img_fc2", "audio.fc1": "aud_fc1", "audio.fc2": "aud_fc2"},
    "l3net": {},
    "avolnet": {
        "vision.conv5": "im_conv5",
        "vision.conv6": "im_conv6",
        "audio.fc1": "aud_fc1",
        "audio.fc2": "aud_fc2",
        "conv7": "fus_conv7",
    },
}


@pytest.fixture(autouse=True)
def fast_draws():
    """Draw random weights by a generator that compiles ten times as fast on a CPU as the default."""
    with jax.default_prng_impl("rbg"):
        yield


def tiny_config(network: str, data_dir: pathlib.Path | None = None):
    """Return the narrow miniature config, on frames of 64 pixels and the tiny dataset."""
    config = importlib.import_module(f"configs.{network}").get_config("miniature")
    config.model.width = reference_networks.WIDTH
    config.inputs.frame_pixels = 64
    config.train.num_workers = 8
    config.evaluation.batch = 8
    if data_dir is not None:
        config.data.dataset = "synthetic_av/tiny"
        config.data.data_dir = str(data_dir)
    return config


def replicated(network: str) -> torch.nn.Module:
    """Build a network of the replication with random weights; AVE-Net's output 0 falls with the distance."""
    make = {
        "avenet": reference_networks.avenet,
        "l3net": reference_networks.L3Net,
        "avolnet": functools.partial(reference_networks.AvolNet, relu=False),
    }
    net = reference_networks.randomised(make[network](replicated=True))
    with torch.no_grad():
        if network == "avenet":
            net.fc3.weight.copy_(torch.tensor([[-0.7], [0.6]]))
        if network == "avolnet":  # log-odds of a few units, not of a hundred
            net.vision.conv6.weight.mul_(0.1)
            net.audio.fc2.weight.mul_(0.1)
    return net


def state_dict(network: str) -> dict[str, np.ndarray]:
    """Return the arrays of `replicated` under their published names."""
    arrays = {}
    for name, array in reference_networks.as_numpy(replicated(network)).items():
        layer, _, kind = name.rpartition(".")
        published_layer = REPLICATED[network].get(layer, layer.replace("vision", "icn").replace("audio", "acn"))
        arrays[f"{published_layer}.{kind}"] = array
    return arrays


def torch_outputs(network: str, batch) -> dict[str, np.ndarray]:
    """Return the outputs of `replicated`; of two outputs the first means `corresponds`."""
    image = reference_networks.image_of(batch.frames, "imagenet")
    with torch.no_grad():
        outputs = replicated(network).double()(image, reference_networks.sound_of(batch.log_spectrogram))
    if network != "avolnet":
        outputs["logit"] = -outputs["logit"]
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def model_of(state: steps.TrainState, config):
    return steps.with_values(build_network(config).evaluation, state.params, state.batch_stats)


@pytest.mark.parametrize("network", REPLICATED)
def test_replicated_networks_agree_with_pytorch(network):
    config, found = tiny_config(network), state_dict(network)
    state, source = import_weights.imported(found, config, "auto", 0)
    assert source.name == "replication"
    inputs = build_network(config).inputs
    assert inputs.columns == 199
    batch = small_batch(inputs)
    outputs = run(model_of(state, config), batch)
    expected = torch_outputs(network, batch)
    assert np.ptp(expected["logit"]) > 1e-3
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(outputs, name), value, atol=1e-4, err_msg=name)


def test_the_other_positive_class_negates_the_log_odds():
    config, found = tiny_config("l3net"), state_dict("l3net")
    batch = small_batch(build_network(config).inputs)
    logits = [
        np.asarray(run(model_of(import_weights.imported(found, config, "auto", positive)[0], config), batch).logit)
        for positive in (0, 1)
    ]
    np.testing.assert_allclose(logits[0], -logits[1], atol=1e-6)
    with pytest.raises(ValueError, match="--positive_class is 2"):
        import_weights.imported(found, config, "auto", 2)


def test_swapped_outputs_of_avenet_are_refused():
    found = state_dict("avenet")
    with pytest.raises(ValueError, match=r"rise with the distance .*by 1\.3 .*Use the other --positive_class"):
        import_weights.imported(found, tiny_config("avenet"), "replication", 1)
    found["fc3.weight"] = found["fc3.weight"][::-1].copy()
    import_weights.imported(found, tiny_config("avenet"), "replication", 1)


def vgg16_config():
    config = tiny_config("vgg16")
    return config, small_batch(build_network(config).inputs)


@pytest.fixture(scope="module")
def vgg16_in_torch():
    net = reference_networks.randomised(reference_networks.Vgg16(side=64))
    return net, reference_networks.as_numpy(net)


def test_torchvision_vgg16_agrees_with_pytorch(vgg16_in_torch):
    net, found = vgg16_in_torch
    config, batch = vgg16_config()
    state, source = import_weights.imported(found, config, "auto", 0)
    assert source.name == "torchvision"
    with torch.no_grad():
        expected = net(reference_networks.image_of(batch.frames, "imagenet").float()).numpy()
    assert (expected > 0.1).any(axis=1).all()
    np.testing.assert_allclose(model_of(state, config).image_features(batch.frames), expected, atol=1e-4)


def keras_arrays(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays in Keras's layout: block1_conv1 ..., fc1 on rows x columns x channels, fc2, predictions."""
    names = [f"block{b}_conv{n}" for b, count in enumerate((2, 2, 3, 3, 3), start=1) for n in range(1, count + 1)]
    numbers = [int(name.split(".")[1]) for name in found if name.startswith("features") and name.endswith("weight")]
    arrays = {}
    for name, number in zip(names, numbers, strict=True):
        arrays[f"{name}.kernel"] = found[f"features.{number}.weight"].transpose(2, 3, 1, 0)
        arrays[f"{name}.bias"] = found[f"features.{number}.bias"]
    for name, number in (("fc1", 0), ("fc2", 3), ("predictions", 6)):
        arrays[f"{name}.kernel"] = found[f"classifier.{number}.weight"].T
        arrays[f"{name}.bias"] = found[f"classifier.{number}.bias"]
    # fc1 takes a 2 x 2 map with 32 channels.
    flat = arrays["fc1.kernel"].reshape(32, 2, 2, -1)
    arrays["fc1.kernel"] = np.stack([flat[c, r, k] for r in (0, 1) for k in (0, 1) for c in range(32)])
    return arrays


def test_keras_vgg16_agrees_with_its_own_preprocessing(vgg16_in_torch):
    """Compare on Keras's inputs: B, G, R from 0 to 255 minus Keras's mean; borders included."""
    net, found = vgg16_in_torch
    found = found | {"features.0.weight": found["features.0.weight"] / 60}  # for inputs of +-128
    config, batch = vgg16_config()
    state, source = import_weights.imported(keras_arrays(found), config, "auto", 0)
    assert source.name == "keras"
    net = reference_networks.Vgg16(side=64).eval()
    net.load_state_dict({name: torch.as_tensor(array) for name, array in found.items()})
    pixels = np.asarray(batch.frames, np.float32)[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    with torch.no_grad():
        expected = net(torch.as_tensor(pixels.transpose(0, 3, 1, 2).copy())).numpy()
    assert (expected > 0.1).any(axis=1).all()
    np.testing.assert_allclose(model_of(state, config).image_features(batch.frames), expected, atol=1e-4)


def write_keras(path: pathlib.Path, arrays: dict[str, np.ndarray], era: str) -> None:
    """Write weights in the layout of Keras 1, 2 or 3, or a complete Keras 2 model."""
    layers = sorted({name.split(".")[0] for name in arrays})
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if era == "keras2_model" else file
        for number, layer in enumerate(layers):
            kernel, bias = arrays[f"{layer}.kernel"], arrays[f"{layer}.bias"]
            if era == "keras1":
                group, names = root.create_group(layer), (f"{layer}_W_1:0", f"{layer}_b_1:0")
            elif era == "keras3":
                group, names = root.create_group(f"layers/conv2d_{number}/vars"), ("0", "1")
                group.attrs["name"] = layer
            else:
                group, names = root.create_group(f"{layer}/{layer}"), ("kernel:0", "bias:0")
            group[names[0]], group[names[1]] = kernel, bias


@pytest.mark.parametrize("era", ["keras1", "keras2", "keras2_model", "keras3"])
def test_keras_files_of_every_era_are_read(tmp_path, era):
    rng = np.random.default_rng(0)
    arrays = {"block1_conv1.kernel": rng.normal(size=(3, 3, 3, 4)), "block1_conv1.bias": rng.normal(size=4)}
    arrays |= {"fc1.kernel": rng.normal(size=(5, 2)), "fc1.bias": rng.normal(size=2)}
    write_keras(tmp_path / "weights.h5", arrays, era)
    found, _ = files.read(tmp_path / "weights.h5")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_torchvision_resnet18_agrees_with_pytorch():
    net = reference_networks.randomised(reference_networks.ResNet18())
    found = reference_networks.as_numpy(net) | {"fc.weight": np.zeros((1000, 32)), "fc.bias": np.zeros(1000)}
    config = tiny_config("lvs")
    batch = small_batch(build_network(config).inputs)
    state, source = import_weights.imported(found, config, "auto", 0)
    assert source.name == "torchvision"
    image = reference_networks.image_of(batch.frames, "imagenet").float()
    with torch.no_grad():
        expected = net(image).permute(0, 2, 3, 1).numpy()
    vision = model_of(state, config).vision
    given = jnp.asarray(image.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(run(vision, given), expected, atol=1e-4 * expected.max())
    assert "Only the vision stream is imported" in source.remarks[0]


def test_a_file_that_does_not_fit_is_refused_with_all_its_errors():
    found = state_dict("avenet")
    del found["icn.bn1_1.running_var"], found["acn.conv2_1.bias"]
    found["icn.conv1_1.weight"] = np.zeros((4, 3, 5, 5), np.float32)
    found["aud_fc3.weight"] = np.zeros((2, 2), np.float32)
    found["fc3.bias"] = np.array([np.nan, 0], np.float32)
    with pytest.raises(ValueError, match="replication weights of avenet; 5 entries differ") as refused:
        import_weights.imported(found, tiny_config("avenet"), "auto", 0)
    assert sorted(str(refused.value).splitlines()[1:]) == [
        "  missing: acn.conv2_1.bias [8]",
        "  missing: icn.bn1_1.running_var [4]",
        "  not finite: fc3.bias",
        "  shape: icn.conv1_1.weight is [4, 3, 5, 5], expected [4, 3, 3, 3]",
        "  unknown: aud_fc3.weight [2, 2]",
    ]


def test_unknown_names_and_formats_are_refused():
    with pytest.raises(ValueError, match=r"none of the file's 1 entries is known for avenet \(a\.b"):
        import_weights.imported({"a.b": np.zeros(2)}, tiny_config("avenet"), "auto", 0)
    with pytest.raises(ValueError, match="--format=keras is unknown for avenet; it takes auto or replication, avlearn"):
        import_weights.imported({"a.b": np.zeros(2)}, tiny_config("avenet"), "keras", 0)
    with pytest.raises(ValueError, match=r"configs/ has no file 'vgg19'; it has .*vgg16"):
        configs.load("vgg19")


@pytest.mark.parametrize("network", [*REPLICATED, "vgg16"])
def test_every_array_of_a_network_comes_from_its_file(network):
    """No array keeps its random values, and no array of the file is read twice."""
    shapes = import_weights.weight_shapes(import_weights.initial_state(tiny_config(network)))
    for source in published.formats(network, 0):
        entries = source.entries(shapes)
        targets = [entry.target for entry in entries] + list(source.constants)
        assert sorted({*targets}) == sorted(shapes)
        if source.name != "avlearn":
            assert len(targets) == len(shapes)
        read = [name for entry in entries for name in entry.sources]
        assert len(set(read)) == len(read)


def test_layout_of_the_first_linear_layer_by_hand():
    # Two outputs on a map of 2 x 2 cells and 3 channels; the digits of a value are its channel, row and column.
    array = np.array([[100 * c + 10 * r + k for c in range(3) for r in (0, 1) for k in (0, 1)]] * 2)
    ours = layouts.torch_linear_after_map(3).convert(array)
    assert ours[:, 0].tolist() == [0, 100, 200, 1, 101, 201, 10, 110, 210, 11, 111, 211]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_pytorch_files_are_read(tmp_path, wrap, prefix):
    torch.save(wrap({f"{prefix}a.weight": torch.ones(2, 3, dtype=torch.float16)}), tmp_path / "w.pth")
    found, _ = files.read(tmp_path / "w.pth")
    assert found.keys() == {"a.weight"}
    np.testing.assert_array_equal(found["a.weight"], np.ones((2, 3), np.float32))


class Exploit:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("harm"),))


def test_files_that_are_not_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Exploit()}, "code.pth")
    torch.save({"a": 3}, "number.pth")
    for name in ("junk.pth", "junk.safetensors", "junk.h5", "weights.npz"):
        pathlib.Path(name).write_bytes(b"junk of some bytes")
    for name, expected in {
        "code.pth": "cannot be read as a state dict",
        "number.pth": "cannot be read as a state dict: its entry 'a' is int",
        "junk.pth": "cannot be read as a state dict",
        "junk.safetensors": "cannot be read as safetensors",
        "junk.h5": "cannot be read as HDF5",
        "weights.npz": "'.npz' is unknown",
        "absent.pth": "is not a file",
    }.items():
        with pytest.raises(ValueError, match=expected):
            files.read(pathlib.Path(name))
    assert not pathlib.Path("harm").exists()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"PyTorch is not installed\. Either install it \(pip install torch"):
        files.read(pathlib.Path("number.pth"))


def arguments(**named):
    parser = argparse.ArgumentParser()
    import_weights.add_arguments(parser)
    return parser.parse_args([f"--{name}={value}" for name, value in named.items()])


def test_the_command_writes_a_run_that_evaluation_restores(tmp_path, tiny_world, monkeypatch):
    """Import a file, evaluate it, export it and import the export: the weights stay the same bit for bit."""
    monkeypatch.setattr(configs, "load", lambda network, variant="": tiny_config(network, tiny_world))
    torch.save({name: torch.as_tensor(a) for name, a in state_dict("avolnet").items()}, tmp_path / "avol.pt")
    workdir = tmp_path / "run"
    text = import_weights.run(arguments(network="avolnet", to=workdir, **{"from": tmp_path / "avol.pt"}))
    assert "from replication weights" in text
    config = tiny_config("avolnet", tiny_world)
    # The command's settings are exactly the differences from the config file.
    changes = [word for word in text.splitlines()[-1].split() if word.startswith("--config.")]
    assert sorted(changes) == [
        "--config.inputs.columns=199",
        "--config.model.conv1_padding=both",
        "--config.model.conv5_activation=none",
        "--config.model.frame_scaling=imagenet",
    ]
    config.evaluation.evaluators = ("avc_accuracy",)
    with pytest.raises(ValueError, match=r"model\.conv1_padding: both there, after now"):
        main.run(config, workdir, "evaluate", None)
    config.update_from_flattened_dict(dict(published.formats("avolnet", 0)[0].settings))
    main.run(config, workdir, "evaluate", None)
    assert json.loads((workdir / "results.json").read_text())["avc_accuracy"]["checkpoint_step"] == 0
    with pytest.raises(ValueError, match="already holds a run"):
        import_weights.run(arguments(network="avolnet", to=workdir, **{"from": tmp_path / "avol.pt"}))

    file, again = tmp_path / "avol.safetensors", tmp_path / "again"
    cli.main(["export", f"--from={workdir}", f"--to={file}"])
    import_weights.run(arguments(to=again, **{"from": file}))
    assert (again / "config.json").read_text() == (workdir / "config.json").read_text()
    assert_same_weights(workdir, again, config)
    found, metadata = files.read(file)
    assert metadata["network"] == "avolnet"
    assert found["vision.conv1_1.kernel"].shape == (3, 3, 3, 4)  # rows, columns, in, out
    with pytest.raises(ValueError, match="holds avolnet, not --network=avenet"):
        import_weights.run(arguments(network="avenet", to=tmp_path / "other", **{"from": file}))


def assert_same_weights(one, other, config):
    like = import_weights.initial_state(config)
    restored = []
    for workdir in (one, other):
        checkpoints = Checkpoints(workdir / "checkpoints", network=config.model.name, keep=1)
        restored.append(checkpoints.restore_weights(like, jax.sharding.SingleDeviceSharding(jax.devices()[0]), "best"))
    jax.tree.map(np.testing.assert_array_equal, *restored)


def test_vgg16_is_evaluated_on_images_alone(tmp_path, tiny_world, vgg16_in_torch):
    config = tiny_config("vgg16", tiny_world)
    state, _ = import_weights.imported(vgg16_in_torch[1], config, "auto", 0)
    import_weights.write_run(tmp_path, state, config)
    main.run(config, tmp_path, "evaluate", None)
    figures = json.loads((tmp_path / "results.json").read_text())["ndcg"]
    assert figures["items"] == figures["items_expected"] == 16
    assert figures["baselines"]["chance"].keys() == {"im-im"}
    assert 0 < figures["im-im"] <= 1
    assert "im-aud" not in figures
    assert (tmp_path / "report" / "index.html").exists()


def test_files_without_a_network_are_refused(tmp_path):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="--network is missing"):
        import_weights.run(arguments(to=tmp_path / "run", **{"from": tmp_path / "a.safetensors"}))
    with pytest.raises(SystemExit, match=r"has no config\.json; name the directory of a trained run"):
        cli.main(["export", f"--from={tmp_path}", f"--to={tmp_path / 'b.safetensors'}"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(SystemExit, match=r"config\.json is damaged \(Expecting value: line 1"):
        cli.main(["export", f"--from={tmp_path}", f"--to={tmp_path / 'b.safetensors'}"])
