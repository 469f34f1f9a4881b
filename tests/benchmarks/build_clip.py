"""CPU seconds for building the record of one clip, by stage, compared with FFmpeg's decoding of the same file.

    python tests/benchmarks/build_clip.py --clip=FILE.mp4

Needs the `ffmpeg` command (`apt-get install ffmpeg`, or `pip install imageio-ffmpeg`). Everything runs on one thread.
The stages alternate, so that other load on the machine affects all alike; each number is the median of the rounds.
"""

import functools
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable

import cv2
import loky
import numpy as np
from absl import app, flags

from avlearn.media import decode, jpeg
from avlearn.media.log_spectrogram import FRONT_ENDS, log_spectrogram
from data_builders.clips import record, shards
from data_builders.clips.clip_files import ClipFile
from data_builders.clips.segments import Located, Segment
from data_builders.synthetic_av import clip_file

CLIP = flags.DEFINE_string(
    "clip", "", "Media file; if empty, a moving texture of 10 s, 640 x 360, 30 frames per second."
)
SECONDS = flags.DEFINE_float("seconds", 10.0, "Length that is built.")
FRAMES_PER_SECOND = flags.DEFINE_float("frames_per_second", 25, "Rate of the stored frames.")
TURNS = flags.DEFINE_integer("turns", 5, "Rounds of measurement.")


def write_clip(folder: str) -> str:
    """Write a clip that compresses moderately well: drifting blurred noise, with white noise as audio."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (60, 108, 3), dtype=np.uint8)
    image = cv2.resize(texture, (864, 480), interpolation=cv2.INTER_CUBIC)
    frames = [image[t % 120 : t % 120 + 360, t % 200 : t % 200 + 640] for t in range(300)]
    path = os.path.join(folder, "drifting.mp4")
    clip_file.write(path, frames, rng.normal(0, 0.1, 480_000).astype(np.float32), frames_per_second=30)
    return path


def ffmpeg() -> str:
    """Return the path of the `ffmpeg` command.

    Raises:
      FileNotFoundError: it is not installed.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        raise FileNotFoundError(
            "ffmpeg is not installed: apt-get install ffmpeg, or pip install imageio-ffmpeg"
        ) from None
    return imageio_ffmpeg.get_ffmpeg_exe()


def decode_only(command: str, clip: str) -> None:
    """Decode both streams and discard them."""
    one_thread = ["-threads", "1", "-filter_threads", "1"]
    subprocess.run(
        [command, "-v", "error", *one_thread, "-t", str(SECONDS.value), "-i", clip, "-f", "null", "-"], check=True
    )


def build_in_fresh_process(shard: str) -> float:
    """Build a shard; return the peak memory of this process, MiB."""
    shards.build(shard)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds(task: Callable[[], object]) -> float:
    """Measure the CPU seconds of a task, including processes that it waited for."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    start = now()
    task()
    return now() - start


def main(_: list[str]) -> None:
    """Print the table."""
    command = ffmpeg()
    with tempfile.TemporaryDirectory() as folder:
        path = CLIP.value or write_clip(folder)
        settings = record.Settings(frames_per_second=FRAMES_PER_SECOND.value)
        recipe = shards.Recipe(settings, ("class",))
        segment = Segment("clip", "clip", ("class",), 0.0, SECONDS.value)
        located = Located(segment, ClipFile("clip", path, 0, 0), cut=True)
        rate = FRONT_ENDS["l3"].sample_rate_hz
        read = functools.partial(
            decode.read_clip,
            path,
            duration_seconds=SECONDS.value,
            frames_per_second=FRAMES_PER_SECOND.value,
            first_frame_seconds=settings.first_frame_seconds,
            sample_rate_hz=rate,
        )
        clip = read()
        example, _ = record.make_record(located, recipe.labels, settings)
        shard = os.path.join(folder, "shard")
        tasks = {
            "ffmpeg: decode both streams": lambda: decode_only(command, path),
            "read_clip: decode, grid, resize, resample": read,
            "JPEG": lambda: [jpeg.encode(frame) for frame in clip.frames],
            "log-spectrogram": lambda: log_spectrogram(clip.waveform).astype(np.float16),
            "serialize": lambda: recipe.serialize(example),
            "the whole shard of one clip": lambda: shards.build(shard),
        }
        shards.write_job(shard, shards.Job(((located,),), recipe, time_limit_seconds=600))
        taken = {name: [] for name in tasks}
        for _ in range(TURNS.value + 1):
            for name, task in tasks.items():
                pathlib.Path(f"{shard}.json").unlink(missing_ok=True)
                taken[name].append(cpu_seconds(task))
        median = {name: statistics.median(times[1:]) for name, times in taken.items()}
        size = os.path.getsize(shard)
        pathlib.Path(f"{shard}.json").unlink()
        peak_mib = loky.get_reusable_executor(max_workers=1).submit(build_in_fresh_process, shard).result()
    print(f"{path}: {len(clip.frames)} frames {clip.frames.shape[1:3]}, record {size / 1e6:.2f} MB, CPU seconds")
    for name, seconds in median.items():
        print(f"  {seconds:6.3f}  {name}")
    limit = median["ffmpeg: decode both streams"] + median["JPEG"]
    complete = median["the whole shard of one clip"]
    print(f"  {complete / limit:6.2f}  times FFmpeg's decoding plus JPEG encoding ({limit:.3f})")
    print(f"  {peak_mib:.0f} MiB peak memory of the process that builds it")


if __name__ == "__main__":
    app.run(main)
