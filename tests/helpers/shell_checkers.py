"""Checks a documented command of any kind; `check` raises an error for a wrong one, and for one without a checker."""

import argparse
import os
import pathlib
import re
import shlex
import subprocess

from tests.helpers import documented_commands
from tests.helpers.command_checkers import check_avlearn, check_build, check_main, check_python, check_tfds
from tests.helpers.documented_commands import Command
from tests.helpers.paths import ROOT
from tests.test_packaging import setup_keywords

TPU = {"AVLEARN_TPU_NAME": "a", "AVLEARN_TPU_ZONE": "b", "AVLEARN_TPU_BUCKET": "gs://c"}


def extras() -> set[str]:
    return {ast_key.value for ast_key in setup_keywords()["extras_require"].keys}


def check_source(words, folder) -> None:
    (path,) = words[:1]
    if path != ".venv/bin/activate":  # launch/install.sh makes it
        check_launch(path, words[1:], folder)


def check_launch(path: str, arguments, folder) -> None:
    assert (ROOT / path).is_file(), f"{path} does not exist"
    LAUNCH[pathlib.Path(path).name](arguments, folder)


def check_extras(arguments, _) -> None:
    assert set(arguments) <= extras()


def check_no_arguments(arguments, _) -> None:
    assert arguments == []


def check_pytest(arguments, _) -> None:
    """Check that the paths exist, and that the markers and options are pytest's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", default="")
    parser.add_argument("paths", nargs="*")
    parsed = parser.parse_args(arguments)
    assert all((ROOT / path).exists() for path in parsed.paths)
    markers = re.findall(r"\"(\w+):", re.search(r"markers = \[.*\]", (ROOT / "pyproject.toml").read_text())[0])
    assert set(re.findall(r"\w+", parsed.m)) - {"not", "and", "or"} <= set(markers)


def check_beam(arguments, _) -> None:
    assert len(arguments) in (4, 5)
    check_build(arguments[0], arguments[1])


def check_tpu(arguments, folder) -> None:
    """Let the script print its commands, and check the flags of avlearn.main."""
    own, _, rest = shlex.join(arguments).partition(" -- ")
    command = ["launch/tpu_pod.sh", *shlex.split(own), "--print", *(["--", *shlex.split(rest)] if rest else [])]
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **TPU}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    if rest:
        check_main(shlex.split(rest), folder)


def check_sbatch(words, folder) -> None:
    script = next(index for index, word in enumerate(words) if not word.startswith(("-", "...")))
    assert words[script] == "launch/slurm_gpu.sbatch"
    check_main(words[script + 1 :], folder)


LAUNCH = {
    "quickstart.sh": check_extras,
    "install.sh": check_extras,
    "allocator.sh": check_no_arguments,
    "test.sh": check_pytest,
    "build_dataset_beam.sh": check_beam,
    "tpu_pod.sh": check_tpu,
}


def check_pip(words, _) -> None:
    assert words[0] == "install"
    for extra in re.findall(r"^\.\[(\w+)\]$", "\n".join(words), re.MULTILINE):
        assert extra in extras()


def check_docker(words, _) -> None:
    named = dict(word.split("=", 1) for word in words if word.startswith("--"))
    if words[0] == "build":
        assert (ROOT / named["--file"]).is_file()
        assert named["--build-arg"].removeprefix("EXTRA=") in extras()


def check_kubectl(words, _) -> None:
    if words[0] == "apply":
        assert (ROOT / words[words.index("-f") + 1]).is_file()


def check_export(words, _) -> None:
    scripts = "".join(path.read_text() for path in documented_commands.scripts())
    assert all(word.partition("=")[0] in scripts for word in words)


def check_external(words, _) -> None:
    """Accept a program that is not of this repository, and whose arguments are not of it either."""


EXTERNAL = ("apt-get", "codespell", "ffmpeg", "gcloud", "mkdocs", "mv", "pre-commit", "pyrefly", "ruff")
CHECKERS = {
    **dict.fromkeys(EXTERNAL, check_external),
    "avlearn": check_avlearn,
    "docker": check_docker,
    "export": check_export,
    "kubectl": check_kubectl,
    "pip": check_pip,
    "python": check_python,
    "sbatch": check_sbatch,
    "source": check_source,
    "tfds": check_tfds,
}


def check(command: Command, folder: pathlib.Path) -> None:
    program, *words = command.words
    if program.removeprefix("./").startswith("launch/"):
        check_launch(program, words, folder)
        return
    assert program in CHECKERS, f"{command}: a kind of command without a checker"
    CHECKERS[program](words, folder)
