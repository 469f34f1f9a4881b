"""Every command of pages, docstrings and script headers: parsed by the program itself, applied to the config it names.

A kind of command without a checker fails: add one to `CHECKERS` of tests/helpers/shell_checkers.py, or to `EXTERNAL`
if its program is not of this repository and takes no file of it.
"""

import pathlib
import re
import shlex
from unittest import mock

import pytest
import tensorflow_datasets as tfds
from absl import flags
from tensorflow_datasets.scripts.cli import main as tfds_main

from avlearn import config as configs
from tests.helpers import documented_commands
from tests.helpers.command_checkers import check_config, parse_main
from tests.helpers.documented_commands import Command
from tests.helpers.paths import ROOT
from tests.helpers.shell_checkers import CHECKERS, check

COMMANDS = list({command.words: command for command in documented_commands.commands(tuple(CHECKERS))}.values())


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command(command, tmp_path):
    check(command, tmp_path)


MAIN = "python -m avlearn.main --config=configs/avenet.py"
GRID = "python launch/grid_search.py --output=runs/grid"


@pytest.mark.parametrize(
    "text",
    [
        "make all",
        "python -m avlearn.main",
        "python -m avlearn.main --config=configs/av.py",
        "python -m avlearn.main --config=configs/avenet.py:tiny",
        f"{MAIN} --mode=test",
        f"{MAIN} --steps=3",
        f"{MAIN} train",
        f"{MAIN} --config.train.stepz=3",
        f"{MAIN} --config.train.steps=many",
        f"{MAIN} --config.train.steps=0",
        f"{MAIN} --config.train.schedule=cosine",
        f"{MAIN} --config.train.weight_decay_kind=L2",
        f"{MAIN} --config.train.rematerialise=all",
        f"{MAIN} --config.model.dtype=float16",
        f"{MAIN} --config.data.pairing=pairs",
        f"{MAIN} --config.data.pairing=contrast",
        f"{MAIN} --config.data.spectrogram_scaling=db",
        f"{MAIN} --config.data.dataset=own_clips/clip",
        f"{MAIN} --config.data.dataset=my_clips/clips",
        f"{MAIN} --config.data.train_split=train+trial",
        f"{MAIN} --config.data.train_split=train+",
        f"{MAIN} --config.evaluation.dataset=vgg_ss/full --config.evaluation.split=validation",
        f"{MAIN} --evaluators=cIoU",
        f"{MAIN} --evaluators=ciou",
        f"{MAIN} --config.evaluation.ndcg.gain=squared",
        f"{MAIN} --config.evaluation.checkpoint=last",
        f"{MAIN} --config.evaluation.also_on=\"('vgg_ss/full evaluators=ndcg',)\"",
        f"{MAIN} --mode=evaluate --checkpoint=runs/avenet",
        f"{MAIN} --checkpoint=runs/avenet/checkpoints",
        f"{MAIN} --mode=dry_run --topology=tpu-v4-6",
        "avlearn exports --from=a --to=b",
        "avlearn report --folder=a b",
        "avlearn import --network=vgg19 --from=a.pth --to=b",
        "avlearn import --network=vgg16 --from=a.npz --to=b",
        "avlearn contents data/audioset/instrument/1.0.0",
        "tfds build data_builders/avenue",
        "tfds build no_such_dataset",
        "tfds build data_builders/ave --configs=all",
        "tfds build data_builders/ave --config=every",
        'tfds build data_builders/ave --config=\'{"name": "a", "fps": 3}\'',
        'tfds build data_builders/ave --config=\'{"name": "a", "frames_per_second": "3"}\'',
        "python -m avlearn.report",
        "python tests/benchmarks/speed.py",
        "python tests/benchmarks/evaluation.py --only=ndcg",
        "python tests/benchmarks/build_clip.py --file=a.mp4",
        "python -m apache_beam.runners.worker.worker_pool_main --port=3",
        f"{GRID} --grid=train.steps=2 --config=configs/avenet.py",
        f"{GRID} --grid=train.stepz=2 -- --config=configs/avenet.py",
        "python launch/local_multiprocess.py --processes=3 -- --config=configs/avenet.py",
        "source launch/setup.sh",
        "source launch/install.sh gpu",
        "./launch/test.sh tests/nothing",
        "./launch/test.sh -m quick",
        "launch/build_dataset_beam.sh audioset every CLIPS DATA",
        "launch/tpu_pod.sh start",
        "launch/tpu_pod.sh run -- --config=configs/avenet.py --config.model.dtype=float16",
        "sbatch launch/slurm.sbatch --config=configs/avenet.py",
        "pip install -e .[gpu]",
        "docker build --file=Dockerfile --build-arg=EXTRA=tpu .",
        "kubectl apply -f launch/gke.yaml",
        "export AVLEARN_NAME=a",
    ],
)
def test_a_wrong_command_is_found(text, tmp_path):
    wrong = (AssertionError, AttributeError, KeyError, TypeError, ValueError, ImportError, SystemExit, OSError)
    with pytest.raises((*wrong, flags.Error, StopIteration, tfds.core.registered.DatasetNotFoundError)):
        check(Command("a page", tuple(shlex.split(text))), tmp_path)


SETTINGS = sorted(set(documented_commands.settings()))


def takes_network(name: str) -> bool:
    return "load_experiment" in (ROOT / "configs" / f"{name}.py").read_text()


def config_with(keys: set[str], file: str) -> str:
    """Return a config that declares these keys: of the given file, of AVE-Net or of the first other one."""
    names = sorted(configs.names(), key=lambda name: (name != pathlib.Path(file).stem, name != "avenet"))
    for name in names:
        variant = "l3net" if takes_network(name) else ""
        if keys <= configs.flat(configs.load(name, variant)).keys():
            return f"configs/{name}.py:{variant}".removesuffix(":")
    raise AssertionError(f"{file}: no config has {keys}")


@pytest.mark.parametrize(("file", "settings"), SETTINGS)
def test_settings(file, settings):
    """The keys exist in one config, and it allows the values."""
    values = dict(setting.removeprefix("--config.").partition("=")[::2] for setting in settings)
    name = config_with(set(values), file)
    given = [f"--config.{key}={value}" for key, value in values.items() if value not in ("", "...", "NAME/CONFIG")]
    config, _ = parse_main([f"--config={name}", *given])
    evaluators = {key.split(".")[1] for key in values if re.fullmatch(r"evaluation\.\w+\.\w+", key)}
    if evaluators:
        config.evaluation.evaluators = tuple(evaluators)
    check_config(config, with_network=not evaluators)


def test_every_block_of_a_page_names_its_language():
    """A block without a language, or an indented command, would not be checked."""
    for path in documented_commands.pages():
        text = path.read_text()
        assert {language for language, _ in documented_commands.FENCE.findall(text)} <= documented_commands.LANGUAGES
        indented = re.findall(r"^    (\S+)", documented_commands.FENCE.sub("", text), re.MULTILINE)
        assert not [word for word in indented if word in CHECKERS or word.startswith(("./", "launch/"))], path


def test_options_of_prose_exist(capsys):
    """Inline code that begins with an option names one of avlearn's programs or of `tfds build`."""
    with mock.patch.object(flags, "FLAGS", flags.FlagValues()), pytest.raises(SystemExit):
        tfds_main._parse_flags(["tfds", "build", "--help"])
    sources = [*(ROOT / "avlearn" / "commands").glob("*.py"), ROOT / "avlearn" / "main.py"]
    sources += [*(ROOT / "tests" / "benchmarks").glob("*.py"), *(ROOT / "launch").iterdir()]
    known = capsys.readouterr().out + "".join(path.read_text() for path in sources if path.is_file())
    for path in documented_commands.pages():
        for code in documented_commands.CODE.findall(documented_commands.FENCE.sub("", path.read_text())):
            for option in re.findall(r"(?:^| )--(\w+)", code) if code.startswith("--") else ():
                assert re.search(rf"\b{option}\b", known), f"{path}: {code}"


def test_commands_are_found_where_they_are_written(tmp_path, monkeypatch):
    """The parts of a line, continued lines, open quotes, optional words, docstrings and headers."""
    block = "a --x=1 \\\n  -y; b 'c\nd' # e\n\nf [--g=h|i] && j ..."
    found = [command.words for command in documented_commands._of_block(ROOT / "README.md", block)]
    assert found == [
        ("a", "--x=1", "-y"),
        ("b", "c\nd"),
        ("f",),
        ("j", "..."),
        ("f", "--g=h"),
        ("f", "--g=i"),
        ("j", "..."),
    ]
    (tmp_path / "a.py").write_text('"""Does.\n\n    a b \\\\\n        --c\n    d\n\nMore:\n\n    x -> y\n"""\n')
    assert documented_commands.indented_blocks(tmp_path / "a.py") == ["    a b \\\n        --c\n    d\n"]
    (tmp_path / "a.sh").write_text(
        "#!/bin/sh\n# Does.\n#   a b \\\n#       c\n#   --d  explains\n#   e\nset -e\n#   f\n"
    )
    assert documented_commands._header_commands(tmp_path / "a.sh") == "a b \\\nc\ne"
