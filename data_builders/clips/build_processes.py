"""Builds shards in worker processes: one per core of this machine, or wherever Apache Beam assigns the shards.

A process that dies, from a broken codec or a file that takes too long, is replaced, and the others continue.
"""

import collections
import functools
import itertools
import threading
from collections.abc import Iterable
from concurrent import futures

import loky
import tqdm
from loky.process_executor import TerminatedWorkerError

from data_builders.clips import shards
from data_builders.clips.attempts import ATTEMPTS
from data_builders.clips.record import ONE_THREAD

IDLE_SECONDS = 60  # an idle process exits after this time, even if a killed build left it behind
# Unexplained deaths of processes to tolerate between two finished shards, per core: as many as ten bad files cause.
RESTARTS = 10 * ATTEMPTS


class ProcessPool:
    """Processes that build one shard at a time; they are started when needed and then reused."""

    def __init__(self):
        self._lock = threading.Lock()
        self._all = set()
        self._idle = collections.deque()
        self._deaths = 0
        self._closed = False

    def build(self, shard: str) -> int:
        """Build a shard in one of the processes, from any thread; return the number of clips that it should have.

        Raises:
          OSError: see `shards.build`; or processes keep dying.
        """
        while True:
            process, timed_out = self._acquire(), shards.timed_out(shard)
            try:
                clips = process.submit(shards.build, shard).result()
            except TerminatedWorkerError:  # a clip that crashes its codec or takes too long, or a lack of memory
                process.shutdown(kill_workers=True)
                if self._closed:
                    raise
                self._count_death(shard, unexplained=shards.timed_out(shard) == timed_out)
            except BaseException:
                self._idle.append(process)
                raise
            else:
                self._idle.append(process)
                self._deaths = 0
                return clips

    def close(self) -> None:
        """Kill every process; the shards that they were building stay unfinished."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.shutdown(kill_workers=True)

    def _acquire(self):
        with self._lock:
            if self._closed:
                raise RuntimeError("the build was stopped")
            if self._idle:
                return self._idle.pop()
            # loky starts processes without importing the parent's main script again, which would load all of TFDS.
            process = loky.ProcessPoolExecutor(max_workers=1, timeout=IDLE_SECONDS, env=ONE_THREAD)
            self._all.add(process)
            return process

    def _count_death(self, shard, *, unexplained):
        self._deaths += unexplained
        if self._deaths > RESTARTS * loky.cpu_count():
            raise OSError(
                "processes of the build keep dying, perhaps for lack of memory. Use fewer: LOKY_MAX_CPU_COUNT=2 tfds "
                "build ...; finished shards are kept"
            )
        tqdm.tqdm.write(f"A process of the build died at {shard}; the build continues with a new one.")


@functools.cache
def pool() -> ProcessPool:
    """Return this program's pool, which successive builds share, since processes take seconds to start."""
    return ProcessPool()


def close_pool() -> None:
    """Kill the program's processes; the next build starts new ones."""
    pool().close()
    pool.cache_clear()


def build_in_processes(paths: Iterable[str], clips: int, description: str) -> None:
    """Build shards in a process per core, with a progress bar.

    Args:
      paths: paths of the shards.
      clips: number of clips in them, the length of the bar.
      description: label of the bar.

    Raises:
      OSError: see `ProcessPool.build`.
    """
    waiting, cores = iter(paths), loky.cpu_count()
    with (
        futures.ThreadPoolExecutor(cores) as threads,
        tqdm.tqdm(total=clips, desc=description, unit="clip", smoothing=0.05) as bar,
    ):

        def submit(count):
            return {threads.submit(pool().build, path) for path in itertools.islice(waiting, count)}

        try:
            pending = submit(2 * cores)  # not all at once: tens of thousands of pending shards would take 100 MB
            while pending:
                done, pending = futures.wait(pending, return_when=futures.FIRST_COMPLETED)
                for shard in done:
                    bar.update(shard.result())
                pending |= submit(len(done))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            close_pool()
            raise


def build_in_beam(paths: Iterable[str], runner, options) -> None:
    """Build shards in an Apache Beam pipeline; every worker of the runner must be able to reach their folder."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

    options = options or PipelineOptions()
    debug = options.view_as(DebugOptions)
    if debug.number_of_worker_harness_threads is None:  # Dataflow runs 12 threads in a process per core
        debug.number_of_worker_harness_threads = 1
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.Map(_build_in_pool)


def _build_in_pool(path: str) -> int:
    return pool().build(path)
