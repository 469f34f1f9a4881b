"""`python -m avlearn.main --config=configs/avenet.py [--workdir=D] [--mode=train|evaluate|follow|dry_run|inspect] ...`.

The directory of a run holds `config.json`, `checkpoints/`, `tensorboard/`, `metrics.jsonl`, and after evaluation
`results.json`, `arrays.npz`, `report.npz` and `report/index.html`.
"""

from avlearn.runs import early_signals

if __name__ == "__main__":
    early_signals.end_at_once()  # the imports below take seconds

from avlearn.devices import environment

environment.set_variables()  # before TensorFlow is imported

import contextlib
import logging
import os
import pathlib
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Sequence

import jax
from absl import app, flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from avlearn import config as configs
from avlearn import experiment, train
from avlearn.commands import dry_run, evaluate, inspect_dataset
from avlearn.devices import compilation, processes
from avlearn.evaluation import assembly, follow
from avlearn.logs import terminal
from avlearn.runs import non_finite
from avlearn.runs import workdir as workdirs
from avlearn.runs.checkpoint import Checkpoints
from avlearn.runs.damage import is_full_disk
from avlearn.runs.preemption import Preempted, Preemption

LOG = logging.getLogger("avlearn")
MODES = ("train", "evaluate", "follow", "dry_run", "inspect")
# When process 0, the coordinator, exits, the others abort. It waits this long so that they exit with their own codes.
COORDINATOR_SECONDS = 2

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment, such as configs/avenet.py:miniature.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; default: runs/CONFIG.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "train (then evaluate), evaluate, follow: evaluate each checkpoint of a run while it trains, dry_run: show "
    "parameters, memory and inputs, inspect: write a page about the dataset.",
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "dry_run: a machine to plan for, such as tpu-v4-32, gpu-h100-16 or 32 (devices)."
)
PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of some training steps into the workdir.")
COMPILE_CACHE = flags.DEFINE_string(
    "compile_cache",
    None,
    "Directory of compiled programs, kept for later runs; empty: none; default: ~/.cache/avlearn/compiled.",
)
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Checkpoints to evaluate; default: those of the workdir.")
ARRAYS = flags.DEFINE_string("arrays", None, "evaluate: an arrays.npz to score instead of a network.")
EVALUATORS = flags.DEFINE_list(
    "evaluators", None, "Evaluators, such as ndcg,pointing, instead of config.evaluation.evaluators."
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
    evaluators_named: bool = True,
) -> None:
    """Run one mode of an experiment; the workdir defaults to `runs/<config>`, or to `inspect/<dataset>`.

    `evaluators_named` says whether the user has named the evaluators (`Evaluation.named`).
    """
    check_flags(mode, workdir, checkpoint, arrays, topology)
    if mode == "dry_run":
        terminal.print_once(dry_run.describe(config, topology))
        return
    if mode == "inspect":
        terminal.print_once(inspect_dataset.write(config, workdir))
        return
    workdir = pathlib.Path("runs") / config_name() if workdir is None else workdir
    LOG.info("Settings that differ from configs/base.py:\n%s", configs.summary(config, configs.defaults()))
    directory = workdir / "checkpoints" if checkpoint is None else checkpoint
    stored = {"network": config.model.name, "keep": config.train.keep_checkpoints}
    if mode == "follow":
        built = assembly.build_evaluation(config, preemption=preemption).with_named(evaluators_named)
        with workdirs.taken(workdir / "evaluation"):
            follow.follow(built, Checkpoints(directory, read_only=True, **stored), workdir / "evaluation")
        return
    workdirs.check_same_run(workdir, config)  # `taken` checks it again: another run may have ended in the meantime
    workdirs.check_writable(workdir)
    if arrays is not None:
        evaluate.score(config, workdir, pathlib.Path(arrays))
    elif mode == "train":
        built = experiment.build(config, workdir, preemption=preemption)
        with workdirs.taken(workdir, config):
            train.train(built, profile=profile)
            if config.evaluation.after_training:
                evaluate.evaluate(built.evaluation.with_named(evaluators_named), built.checkpoints, workdir)
    else:
        built = assembly.build_evaluation(config, preemption=preemption).with_named(evaluators_named)
        checkpoints = Checkpoints(directory, read_only=True, **stored)
        checkpoints.check_present(config.evaluation.checkpoint)
        with workdirs.taken(workdir, config):
            evaluate.evaluate(built, checkpoints, workdir)


def config_name() -> str:
    """Return the name of the config: `avenet`, or `avenet-miniature`."""
    path, _, variant = flags.FLAGS["config"].config_filename.partition(":")
    return "-".join(filter(None, [pathlib.Path(path).stem, variant]))


def check_flags(
    mode: str, workdir: pathlib.Path | None, checkpoint: str | None, arrays: str | None, topology: str | None
) -> None:
    """Check that the given paths exist, and that the flags can be combined.

    Raises:
      ValueError: names the flag.
    """
    if workdir is not None and ":/" in str(workdir):
        raise ValueError(f"--workdir={workdir} is not a directory; mount the bucket, and name a directory in it.")
    if topology is not None and mode != "dry_run":
        raise ValueError(f"--topology={topology} goes with --mode=dry_run, not with {mode}.")
    if checkpoint is not None and not epath.Path(checkpoint).is_dir():
        raise ValueError(f"--checkpoint={checkpoint} is not a directory; name a run's checkpoints: RUN/checkpoints.")
    if checkpoint is not None and mode not in ("evaluate", "follow"):
        flag = f"--config.train.initialise_from={shlex.quote(str(checkpoint))}"
        instead = f" To start from its weights: {flag}" if mode == "train" else ""
        raise ValueError(f"--checkpoint={checkpoint} goes with --mode=evaluate or follow, not with {mode}.{instead}")
    if arrays is not None and (mode != "evaluate" or checkpoint is not None):
        raise ValueError("--arrays goes with --mode=evaluate and without --checkpoint: it scores one or the other.")
    if arrays is not None and not pathlib.Path(arrays).is_file():
        raise ValueError(f"--arrays={arrays} is not a file; name the arrays.npz of a run (docs/metrics/scoring.md).")


def start_up(num_workers: int) -> Preemption:
    """Join the run's processes, set up the terminal and listen for signals; call it before devices are used."""
    terminal.quieten(flags.FLAGS.verbosity)
    environment.set_thread_count(num_workers)
    processes.initialize()
    processes.check_platform()
    terminal.show_progress(flags.FLAGS.verbosity)
    preemption = Preemption()
    preemption.listen()
    return preemption


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parse the command line; exit with a message if the config file is absent or does not declare a key."""
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            CONFIG.value.to_json()  # an unreadable file raises its error only when its config is used
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        message = str(error.args[0] if error.args else error).strip()
        if "Traceback" in message:  # ml_collections includes the traceback of an error in the config file
            message = message.splitlines()[-1]
        hint = "configs/base.py and the config of the network list all keys with their units."
        sys.exit(f"error: in the flags: {message}\n{hint}")


def main(arguments: Sequence[str]) -> None:
    """Run, and end with one message if the user's input is wrong; --verbosity=1 also prints the traceback."""
    environment.escape_output()
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}; all settings are flags: --config.train.steps=10.")
    if CONFIG.value is None:
        raise app.UsageError("--config is missing, for example --config=configs/avenet.py:miniature.")
    if WORKDIR.value == "":  # of a variable of the shell that is not set; it would be the current directory
        raise app.UsageError("--workdir is empty; name a directory, or leave the flag out: runs/CONFIG.")
    try:
        config = CONFIG.value
        named = "evaluation.evaluators" in config_flags.get_override_values(flags.FLAGS["config"])
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
            evaluators_named=named or EVALUATORS.value is not None,
        )
    except Preempted as error:
        LOG.info("Stopping: %s. The same command resumes.", error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # the second Ctrl-C
        fail("Stopping at once.", early_signals.ENDS[signal.SIGINT][1])
    except (ValueError, non_finite.NonFiniteLoss) as error:
        if flags.FLAGS.verbosity > 0:
            traceback.print_exc()
        exit_code = non_finite.EXIT_CODE if isinstance(error, non_finite.NonFiniteLoss) else 1
        fail(f"error: {error}\n(--verbosity=1 shows where it came from)", exit_code)
    except Exception as error:
        hint = "Free some space and start the same command again; training resumes from its last checkpoint."
        fail(f"error: no space is left: {error}\n{hint}" if is_full_disk(error) else traceback.format_exc())


def fail(message: str, exit_code: int = 1) -> None:
    """Print a message and exit; with several processes exit at once, since an orderly exit waits for the others."""
    print(message, file=sys.stderr, flush=True)
    if not jax.distributed.is_initialized():
        sys.exit(exit_code)
    with contextlib.suppress(RuntimeError, AssertionError):  # there are no devices
        if jax.process_index() > 0:
            os._exit(exit_code)
    time.sleep(COORDINATOR_SECONDS)
    os._exit(exit_code)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
