"""Checks the commands `python`, `avlearn` and `tfds` by their own parsers, and the configs and datasets that they name.

A checker takes the words after the program and an empty folder, and raises an error for a wrong command.
"""

import argparse
import copy
import importlib
import importlib.util
import json
import os
import pathlib
import re
import sys
from unittest import mock

import pytest
import tensorflow_datasets as tfds
from absl import flags
from ml_collections import ConfigDict, config_flags
from tensorflow_datasets.scripts.cli import main as tfds_main

from avlearn import build, cli, main
from avlearn import config as configs
from avlearn.data import augment
from avlearn.devices import topology
from avlearn.evaluation import further_datasets, registry, scoring
from avlearn.training import step as steps
from avlearn.weights import files
from tests.helpers.paths import ROOT

# Splits of the datasets; the others have those of `USUAL`.
USUAL = {"train", "validation", "test"}
SPLITS = {"vgg_ss": {"test"}, "esc50": {f"fold{fold}" for fold in range(1, 6)}, "dcase2013": {"train", "test"}}
SPLITS |= {"imagenet2012": {"train", "validation"}, "cifar10": {"train", "test"}}


# --- python -m avlearn.main -------------------------------------------------------------------------------------------


def parse_main(words) -> tuple[ConfigDict, flags.FlagValues]:
    """Parse the flags of avlearn.main by its definitions; return the config with `--evaluators`, and the flags."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    for flag in flags.FLAGS.flags_by_module_dict()["avlearn.main"]:
        if flag.name not in values:
            values[flag.name] = copy.deepcopy(flag)
    with mock.patch.object(sys, "argv", ["avlearn.main", *words]):
        rest = values(["avlearn.main", *words])
    assert rest == ["avlearn.main"]
    assert values.config is not None, "--config is missing"
    config = values.config
    if values.evaluators is not None:
        config.evaluation.evaluators = tuple(values.evaluators)
    return config, values


def check_main(words, folder: pathlib.Path) -> None:
    config, values = parse_main([word.replace("NAME/CONFIG", "vgg_sound/full") for word in words if word != "..."])
    if values.checkpoint is not None:
        assert values.checkpoint == "..." or pathlib.Path(values.checkpoint).name == "checkpoints"
    arrays = None if values.arrays is None else folder / "arrays.npz"
    if arrays is not None:
        arrays.touch()
    checkpoint = None if values.checkpoint is None else str(folder)
    workdir = None if values.workdir is None else pathlib.Path(values.workdir)
    main.check_flags(values.mode, workdir, checkpoint, arrays and str(arrays), values.topology)
    if values.topology is not None:
        topology.workers_per_device(topology.parse(values.topology), config.train.num_workers)
    check_config(config, with_network=arrays is None)


def check_config(config: ConfigDict, *, with_network: bool = True) -> None:
    """Check every value of a config that the program checks before the first step, and the names of its datasets."""
    build.check_numbers(config)
    each = {"": config, **further_datasets.configs(config)}
    for one in each.values():
        registry.needs(one)
        check_datasets(one)
    if not with_network:
        return
    network = network_of(config)
    for one in each.values():
        scoring.check_needs(registry.needs(one), registry.available(one, network), network.name)
    build.build_schedule(config, steps_per_epoch=1.0)
    build.build_optimizer(config, build.build_schedule(config, steps_per_epoch=1.0))
    configs.one_of(config.train.rematerialise, steps.REMATERIALISATIONS, "train.rematerialise")
    configs.one_of(config.data.spectrogram_scaling, augment.SCALINGS, "data.spectrogram_scaling")
    if network.loss is not None:
        build.build_score(config, network)


NETWORKS: dict[str, build.Network] = {}


def network_of(config: ConfigDict) -> build.Network:
    """Build a network with few channels; those of equal settings once."""
    key = str(configs.flat({name: config[name] for name in ("model", "inputs", "loss")})) + str(config.train.frozen)
    if key not in NETWORKS:
        narrow = config.copy_and_resolve_references()
        narrow.model.width = 1 / 16
        NETWORKS[key] = build.build_network(narrow)
    return NETWORKS[key]


def check_datasets(config: ConfigDict) -> None:
    data, evaluation = config.data, config.evaluation
    check_split(data.dataset, data.train_split)
    check_split(data.dataset, data.validation_split)
    check_split(evaluation.dataset or data.dataset, evaluation.split)
    if "linear_probe" in evaluation.evaluators:
        for key in ("fit_split", "split"):
            check_split(evaluation.linear_probe.dataset, evaluation.linear_probe[key])
    if "sound_classification" in evaluation.evaluators:
        for split in evaluation.sound_classification.test_splits:
            check_split(evaluation.sound_classification.dataset, split)


def check_split(dataset: str, split: str) -> None:
    """Check that a dataset has a builder with this config, and that the split, in TFDS's syntax, names splits of it."""
    name, _, config = dataset.partition("/")
    if config:
        assert config in {each.name for each in builder_of(name).BUILDER_CONFIGS} | {"tiny"}, dataset
    else:
        tfds.builder_cls(name)
    tfds.core.ReadInstruction.from_spec(split)
    named = {re.match(r"\w+", part)[0] for part in split.split("+")}
    assert named <= SPLITS.get(name, USUAL) | {"all"}, f"{dataset} has no split {split}"


# --- tfds build -------------------------------------------------------------------------------------------------------


def builder_of(name: str) -> type[tfds.core.DatasetBuilder]:
    return importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder


def check_tfds(words, _) -> None:
    words = [re.sub(r"\bNAME$", "vgg_sound", word).replace("=CONFIG", "=full") for word in words if word != "..."]
    with mock.patch.object(flags, "FLAGS", flags.FlagValues()):  # those of avlearn.main are not tfds's
        parsed = tfds_main._parse_flags(["tfds", *words]).command
    assert words[0] == "build"
    for dataset in parsed.positional_datasets:
        path = ROOT / dataset
        if path.is_dir():
            check_build(path.name, parsed.generation.config)
        else:
            assert "/" not in dataset, f"{dataset} is not a folder"
            tfds.builder_cls(dataset)


def check_build(name: str, config: str | None) -> None:
    """Check that a builder has a config, or accepts the keys of one in JSON."""
    builder = builder_of(name)
    if config is not None and config.startswith("{"):
        made = builder.builder_config_cls(**json.loads(config))
        getattr(made, "settings", lambda: None)()
    elif config is not None:
        assert config in {each.name for each in builder.BUILDER_CONFIGS}, f"{name} has no config {config}"


# --- avlearn and Python -----------------------------------------------------------------------------------------------


def check_avlearn(words, _) -> None:
    name, *arguments = words
    module = importlib.import_module(f"avlearn.commands.{cli.COMMANDS[name][0]}")
    if not arguments:  # the name of the command alone
        return
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    if name == "import":
        assert parsed.network is None or parsed.network in configs.names()
        assert parsed.source.suffix in files.READERS
    if name == "contents":
        *_, dataset, config, version = parsed.dataset.parts
        check_build(dataset, config)
        assert version == str(builder_of(dataset).VERSION)


def check_python(words, folder) -> None:
    target, *arguments = words[1:] if words[0] == "-m" else words
    if target == "avlearn.main":
        check_main(arguments, folder)
        return
    name = target if words[0] == "-m" else ".".join(pathlib.Path(target).with_suffix("").parts)
    if name.partition(".")[0] not in ("launch", "tests", "data_builders"):
        spec = importlib.util.find_spec(name)
        source = pathlib.Path(spec.origin).read_text()
        assert all(argument.partition("=")[0] in source for argument in arguments), f"{name} does not take {arguments}"
        return
    path = ROOT / pathlib.Path(*name.split(".")).with_suffix(".py")
    assert path.exists(), f"{path} does not exist"
    PYTHON.get(name, check_script)(name, arguments, folder)


class Parsed(Exception):
    """Raised in place of what a script does after it has parsed its command line."""


def check_script(name: str, arguments, _) -> None:
    """Run a script until it has parsed its command line."""
    source = (ROOT / pathlib.Path(*name.split(".")).with_suffix(".py")).read_text()
    if defined := set(re.findall(r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", source)):  # absl's flags are global: not imported
        assert {argument.partition("=")[0].removeprefix("--") for argument in arguments} <= defined
        return
    module = loaded(name)
    if not hasattr(module, "main"):
        assert not any(argument.startswith("-") for argument in arguments), f"{name} takes no options"
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(*positional, **named):
        raise Parsed(parse(*positional, **named))

    with (
        mock.patch.object(sys, "argv", [name, *arguments]),
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        pytest.raises(Parsed),
    ):
        module.main()


def loaded(name: str):
    """Import a script; launch/ is not a package, and benchmarks import each other."""
    if name in sys.modules:
        return sys.modules[name]
    path = ROOT / pathlib.Path(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(path.parent), *sys.path]), mock.patch.dict(os.environ):
        spec.loader.exec_module(module)
    return module


def check_grid(name: str, arguments, folder) -> None:
    module = loaded(name)
    if "..." in arguments:  # further options of the command above
        arguments = ["--output=runs/grid", "--grid=seed=1", *arguments, "--", "--config=configs/avenet.py"]
    with mock.patch.object(sys, "argv", [name, *(each for each in arguments if each != "...")]):
        options = module.arguments()
    for point in module.points(options.grid, folder, options.flags):
        check_main(point.flags, folder)


def check_processes(name: str, arguments, folder) -> None:
    with mock.patch.object(sys, "argv", [name, *(each for each in arguments if each != "...")]):
        options = loaded(name).parse()
    config, _ = parse_main(options.flags)
    assert config.train.num_workers % (options.processes * options.devices) == 0 or "..." in arguments
    check_main(options.flags, folder)


def check_differences(name: str, arguments, _) -> None:
    assert arguments == []
    assert "__main__" in (ROOT / "tests" / "test_differences.py").read_text()


def check_tiny_run(name: str, arguments, _) -> None:
    usage = r"DATA_DIR WORKDIR NETWORK STEPS( signal=NUMBER process=NUMBER step=NUMBER)?"
    assert re.fullmatch(usage, " ".join(arguments))


PYTHON = {
    "launch.grid_search": check_grid,
    "launch.local_multiprocess": check_processes,
    "tests.test_differences": check_differences,
    "tests.helpers.tiny_run": check_tiny_run,
}
