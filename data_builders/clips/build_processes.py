"""Builds shards in processes of their own: one per core of this machine, or wherever Apache Beam hands shards out.

A process that ends, by a codec that breaks or by a file that takes too long, is replaced, and the others go on.
"""

import collections
import functools
import itertools
import threading
from collections.abc import Iterable
from concurrent import futures

import joblib
import tqdm
from joblib.externals import loky
from joblib.externals.loky.process_executor import TerminatedWorkerError

from data_builders.clips import shards
from data_builders.clips.attempts import ATTEMPTS

IDLE_SECONDS = 60  # after which a process ends: those of a build that was killed, too
# Processes that ended by themselves, for each core, without one more shard finished: ten files that end theirs.
RESTARTS = 10 * ATTEMPTS
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Processes:
    """Processes that build a shard each at a time, started as they are needed and kept."""

    def __init__(self):
        self._lock = threading.Lock()
        self._all = set()
        self._idle = collections.deque()
        self._ended = 0
        self._over = False

    def build(self, shard: str) -> int:
        """Builds a shard in one of the processes; returns how many clips it was to have. For any thread to call.

        Raises:
          OSError: see `shards.build`; or processes end again and again.
        """
        while True:
            process, timed_out = self._take(), shards.timed_out(shard)
            try:
                clips = process.submit(shards.build, shard).result()
            except TerminatedWorkerError:  # a clip that takes its codec down or too long, or no memory
                process.shutdown(kill_workers=True)
                if self._over:
                    raise
                self._check_ended(shard, by_itself=shards.timed_out(shard) == timed_out)
            except BaseException:
                self._idle.append(process)
                raise
            else:
                self._idle.append(process)
                self._ended = 0
                return clips

    def end(self) -> None:
        """Ends every process; what is being built in them is not finished."""
        with self._lock:
            self._over = True
            for process in self._all:
                process.shutdown(kill_workers=True)

    def _take(self):
        with self._lock:
            if self._over:
                raise RuntimeError("the build was ended")
            if self._idle:
                return self._idle.pop()
            # loky's processes start without running the parent's main script again, which would be the whole of TFDS.
            process = loky.ProcessPoolExecutor(max_workers=1, timeout=IDLE_SECONDS, env=ONE_THREAD)
            self._all.add(process)
            return process

    def _check_ended(self, shard, *, by_itself):
        self._ended += by_itself
        if self._ended > RESTARTS * joblib.cpu_count():
            raise OSError(
                "processes of the build are ended again and again, by lack of memory perhaps. Run it in fewer: "
                "LOKY_MAX_CPU_COUNT=2 tfds build ...; finished shards are kept"
            )
        tqdm.tqdm.write(f"A process of the build was ended, at {shard}; the build goes on with a new one.")


@functools.cache
def processes() -> Processes:
    """Those of this program: they take seconds to start, so one build after the other uses them."""
    return Processes()


def end_processes() -> None:
    """Ends the program's processes; the next build starts new ones."""
    processes().end()
    processes.cache_clear()


def build_in_processes(paths: Iterable[str], clips: int, description: str) -> None:
    """Builds the shards at some paths, a process per core, with a progress bar over so many clips.

    Raises:
      OSError: see `Processes.build`.
    """
    waiting, cores = iter(paths), joblib.cpu_count()
    with (
        futures.ThreadPoolExecutor(cores) as threads,
        tqdm.tqdm(total=clips, desc=description, unit="clip", smoothing=0.05) as bar,
    ):

        def begin(count):
            return {threads.submit(processes().build, path) for path in itertools.islice(waiting, count)}

        try:
            pending = begin(2 * cores)  # and not all at once, as tens of thousands of shards would take 100 MB
            while pending:
                done, pending = futures.wait(pending, return_when=futures.FIRST_COMPLETED)
                for shard in done:
                    bar.update(shard.result())
                pending |= begin(len(done))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            end_processes()
            raise


def build_in_beam(paths: Iterable[str], runner, options) -> None:
    """Builds shards in an Apache Beam pipeline; their folder must be one that every worker of the runner reaches."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

    options = options or PipelineOptions()
    debug = options.view_as(DebugOptions)
    if debug.number_of_worker_harness_threads is None:  # Dataflow has 12 beside each other in a process per core
        debug.number_of_worker_harness_threads = 1
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.Map(_build_in_a_process)


def _build_in_a_process(path: str) -> int:
    return processes().build(path)
