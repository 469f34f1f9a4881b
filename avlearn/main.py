"""`python -m avlearn.main --config=configs/avenet.py [--workdir=D] [--mode=train|evaluate|dry_run|inspect] ...`.

A run's directory holds `config.json`, `checkpoints/`, `tensorboard/`, `metrics.jsonl`, and after evaluation
`results.json`, `arrays.npz`, `report.npz` and `report/index.html`.
"""

from avlearn.devices import environment

environment.set_variables()  # before TensorFlow is imported

import json
import logging
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Sequence

import jax
from absl import app, flags
from absl import logging as absl_logging
from etils import epath
from ml_collections import ConfigDict, config_flags

from avlearn import experiment, train
from avlearn.commands import dry_run, inspect_dataset, report
from avlearn.devices import compilation, processes
from avlearn.evaluation import array_files, assembly, follow, scoring
from avlearn.runs import non_finite
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.damage import is_full_disk
from avlearn.runs.preemption import EXIT_CODE, Preempted, Preemption
from avlearn.visuals import score_table

LOG = logging.getLogger("avlearn")
MODES = ("train", "evaluate", "follow", "dry_run", "inspect")
# Processes abort when the coordinator, process 0, is gone, so that it waits until they have exited with their own code.
COORDINATOR_SECONDS = 2

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment, such as configs/avenet.py:miniature.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; default: runs/ and the config's name.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "train (then evaluate), evaluate, follow: evaluate each checkpoint of a training that runs beside it, dry_run: say "
    "what would happen, or inspect: a page about the dataset.",
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Of a dry run: a machine that is not at hand, such as tpu-v4-32, gpu-h100-16 or 32 (devices)."
)
PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of some steps of training into the workdir.")
COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    None,
    "Directory where compiled programs are kept for later runs; empty: none; default: ~/.cache/avlearn/compiled.",
)
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Checkpoints to evaluate; default: those of the workdir.")
ARRAYS = flags.DEFINE_string("arrays", None, "evaluate: an arrays.npz to take the figures from, in place of a network.")
EVALUATORS = flags.DEFINE_list(
    "evaluators", None, "Evaluators, such as ndcg,pointing, in place of config.evaluation.evaluators."
)


def run_name() -> str:
    """Name of the config: `avenet`, or `avenet-miniature`."""
    path, _, variant = flags.FLAGS["config"].config_filename.partition(":")
    return "-".join(filter(None, [pathlib.Path(path).stem, variant]))


def prepare_workdir(path: pathlib.Path, config: ConfigDict, mode: str) -> None:
    """Makes the run's directory and writes the config into it; evaluation leaves the config of a training there.

    Raises:
      ValueError: it cannot be written, or holds a run whose weights or batches came about otherwise.
    """
    if jax.process_index() > 0:
        return
    text = config.to_json(indent=2) + "\n"
    written = path / "config.json"
    if (path / "checkpoints").exists() and written.exists():
        check_same_run(path, json.loads(written.read_text()), json.loads(text))
        if mode == "evaluate":
            return
    try:
        path.mkdir(parents=True, exist_ok=True)
        written.write_text(text)
    except OSError as error:
        raise ValueError(
            f"the workdir {path} cannot be written ({error.strerror}). Choose another with --workdir=DIRECTORY."
        ) from error


def check_same_run(path: pathlib.Path, before: dict, now: dict) -> None:
    """Refuses to go on with other batches or another network in the directory of a run.

    Raises:
      ValueError: names the keys that differ.
    """
    may_change = {"data.data_dir", "data.threads"}
    decisive = {
        "seed": None,
        "model": None,
        "loss": None,
        "inputs": None,
        "data": None,
        "train": ("num_workers", "batch_per_worker", "initialise_from", "frozen"),
    }
    differing = []
    for section, keys in decisive.items():
        settings = [values.get(section, {}) for values in (before, now)]
        old, new = (values if isinstance(values, dict) else {"": values} for values in settings)
        for key in keys if keys is not None else sorted(old.keys() | new.keys()):
            name = f"{section}.{key}".rstrip(".")
            if name not in may_change and old.get(key) != new.get(key):
                differing.append(f"\n  {name}: {old.get(key)} there, {new.get(key)} now")
    if differing:
        raise ValueError(
            f"{path} holds a run with another config:{''.join(differing)}\n"
            "Choose another --workdir, or the settings of that run."
        )


def run(
    config: ConfigDict,
    workdir: pathlib.Path | None,
    mode: str,
    checkpoint: str | None,
    arrays: str | None = None,
    *,
    topology: str | None = None,
    preemption: Preemption | None = None,
    profile: bool = False,
) -> None:
    """One mode of one experiment; without a workdir it takes `runs/` and the config's name, or `inspect/`."""
    check_flags(mode, checkpoint, arrays)
    if topology is not None and mode != "dry_run":
        raise ValueError(f"--topology={topology} is of a dry run; add --mode=dry_run, or leave it out.")
    if mode == "dry_run":
        say(dry_run.describe(config, topology))
        return
    if mode == "inspect":
        say(inspect_dataset.write(config, workdir))
        return
    if workdir is None:
        workdir = pathlib.Path("runs") / run_name()
    if ":/" in str(workdir):
        raise ValueError(f"--workdir={workdir} is no directory; mount the bucket, and name a directory in it.")
    directory = workdir / "checkpoints" if checkpoint is None else checkpoint
    stored = {"network": config.model.name, "keep": config.train.keep_checkpoints}
    if mode == "follow":
        checkpoints = Checkpoints(directory, read_only=True, **stored)
        follow.follow(assembly.build_evaluation(config), checkpoints, workdir / "evaluation")
        return
    prepare_workdir(workdir, config, mode)
    processes.check_shared_directory(workdir)
    if arrays is not None:
        score(config, workdir, pathlib.Path(arrays))
    elif mode == "train":
        built = experiment.build(config, workdir, preemption=preemption)
        train.train(built, profile=profile)
        if config.evaluation.after_training:
            evaluate_checkpoint(built.evaluation, built.checkpoints, workdir)
    else:
        built = assembly.build_evaluation(config, preemption=preemption)
        evaluate_checkpoint(built, Checkpoints(directory, **stored), workdir)


def check_flags(mode: str, checkpoint: str | None, arrays: str | None) -> None:
    """Refuses paths that there are not, and flags that do not go together.

    Raises:
      ValueError: names the flag.
    """
    if checkpoint is not None and not epath.Path(checkpoint).is_dir():
        raise ValueError(f"--checkpoint={checkpoint} is no directory; name a run's checkpoints: RUN/checkpoints.")
    if checkpoint is not None and mode not in ("evaluate", "follow"):
        instead = f" To start from its weights: --config.train.initialise_from={checkpoint}" if mode == "train" else ""
        raise ValueError(f"--checkpoint={checkpoint} goes with --mode=evaluate or follow, not with {mode}.{instead}")
    if arrays is not None and (mode != "evaluate" or checkpoint is not None):
        raise ValueError("--arrays goes with --mode=evaluate and without --checkpoint: figures come from one of them.")
    if arrays is not None and not pathlib.Path(arrays).is_file():
        raise ValueError(f"--arrays={arrays} is no file; name the arrays.npz of a run (docs/scoring.md).")


def evaluate_checkpoint(built: assembly.Evaluation, checkpoints: Checkpoints, workdir: pathlib.Path) -> None:
    """Figures of a checkpoint, written to the workdir with the arrays that they are from, and the report."""
    found = built.run(checkpoints, built.config.evaluation.checkpoint)
    array_files.save(workdir, found.results, found.arrays)
    say(score_table.table({workdir.name: found.results}))
    if built.report_arrays is not None:
        shown = built.report_arrays.collect(found.state, found.arrays)
        array_files.save_arrays(workdir / array_files.FOR_REPORT, shown)
        if jax.process_index() == 0:
            print(f"\n{report.write([report.load(workdir)], workdir / 'report')}")
    if jax.process_index() == 0:
        scoring.check_refused(found.results)


def score(config: ConfigDict, workdir: pathlib.Path, path: pathlib.Path) -> None:
    """Figures from saved arrays alone, written to the workdir."""
    results, _ = assembly.score_arrays(config, path)
    array_files.save_results(workdir, results)
    say(f"{score_table.table({workdir.name: results})}\n\nResults: {workdir / 'results.json'}")
    if jax.process_index() == 0:
        scoring.check_refused(results)


def say(text: str) -> None:
    """Prints, from the first process only."""
    if jax.process_index() == 0:
        print(text)


def start_up(num_workers: int) -> Preemption:
    """Joins the other processes, if there are any, and listens for the notice to leave; before any device is touched.

    From then on the first process shows what avlearn says of its progress, bare, and other libraries' messages from
    warnings up; the others show errors only.
    """
    if flags.FLAGS.verbosity <= absl_logging.INFO:
        absl_logging.set_verbosity(absl_logging.WARNING)
    environment.set_thread_count(num_workers)
    processes.initialize()
    if jax.process_index() > 0 and flags.FLAGS.verbosity <= absl_logging.INFO:
        absl_logging.set_verbosity(absl_logging.ERROR)
    log = logging.getLogger("avlearn")
    log.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.propagate = False
    preemption = Preemption()
    preemption.listen()
    return preemption


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parses the command line; a config file that is absent, or a key that it does not declare, is refused."""
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            CONFIG.value.to_json()  # a file that cannot be read shows only when its config is used
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        message = str(error.args[0] if error.args else error).strip()
        if "Traceback" in message:  # ml_collections puts the whole of it into the message of an error in the file
            message = message.splitlines()[-1]
        sys.exit(f"error: in the flags: {message}\nEvery config key stands in configs/base.py with its unit.")


def main(arguments: Sequence[str]) -> None:
    """Runs, and ends with a user's error as one message (with --verbosity=1 also where it came from)."""
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}; all settings are flags: --config.train.steps=10.")
    if CONFIG.value is None:
        raise app.UsageError("--config is missing, for example --config=configs/avenet.py:miniature.")
    try:
        config = CONFIG.value
        if EVALUATORS.value is not None:
            config.evaluation.evaluators = tuple(EVALUATORS.value)
        workdir = None if WORKDIR.value is None else pathlib.Path(WORKDIR.value)
        compilation.set_cache_directory(COMPILE_CACHE.value)
        run(
            config,
            workdir,
            MODE.value,
            CHECKPOINT.value,
            ARRAYS.value,
            topology=TOPOLOGY.value,
            preemption=start_up(config.train.num_workers),
            profile=PROFILE.value,
        )
    except Preempted as error:
        LOG.info("Ends: %s. The same command goes on.", error)
        sys.exit(EXIT_CODE)
    except (ValueError, non_finite.NonFiniteLoss) as error:
        if flags.FLAGS.verbosity > 0:
            traceback.print_exc()
        exit_code = non_finite.EXIT_CODE if isinstance(error, non_finite.NonFiniteLoss) else 1
        fail(f"error: {error}\n(--verbosity=1 shows where it came from)", exit_code)
    except Exception as error:
        room = "Make room and start the same command again; a training goes on from its last checkpoint."
        fail(f"error: no space is left: {error}\n{room}" if is_full_disk(error) else traceback.format_exc())


def fail(message: str, exit_code: int = 1) -> None:
    """Print a message and exit; one of several processes exits at once, since an orderly exit waits for the others."""
    print(message, file=sys.stderr, flush=True)
    if not jax.distributed.is_initialized():
        sys.exit(exit_code)
    if jax.process_index() == 0:
        time.sleep(COORDINATOR_SECONDS)
    os._exit(exit_code)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
