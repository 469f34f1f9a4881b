"""Seconds and memory of the evaluators, compared with published scripts: `python tests/benchmarks/evaluation.py`.

Published scripts loop in Python over queries or maps; their loop runs on a part of the items and is extrapolated.
Needs no dataset, network or TensorFlow. Each line runs in its own process, which gives its peak memory; `--only=NAME`
runs one line.
"""

import argparse
import functools
import multiprocessing
import resource
import time
from collections.abc import Callable

import cv2
import numpy as np

from avlearn.evaluators import cca, ciou, ndcg
from avlearn.ontology import relevance

CLASSES = 110  # of AudioSet-Instruments
DIM = 128
PART = 200  # items on which the scripts' loops run


def retrieval_items(items: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw unit vectors of both modalities, and about two labels for each item."""
    rng = np.random.default_rng(seed)
    vectors = {
        name: rng.normal(size=(items, DIM)).astype(np.float32) for name in ("image_embedding", "audio_embedding")
    }
    labels = np.zeros((items, CLASSES), bool)
    labels[np.arange(items)[:, None], rng.integers(CLASSES, size=(items, 2))] = True
    return {name: each / np.linalg.norm(each, axis=1, keepdims=True) for name, each in vectors.items()} | {
        "labels": labels
    }


def class_relevance() -> np.ndarray:
    distance = np.random.default_rng(1).integers(1, 10, (CLASSES, CLASSES))
    return (20 - np.minimum(distance, distance.T) * (1 - np.eye(CLASSES, dtype=int))).astype(np.int32)


def localisation_items(maps: int) -> dict[str, np.ndarray]:
    """Draw 14 x 14 maps for each frame with its own and another sound, and one or two boxes."""
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((maps, 2, 2, 2)), axis=2).reshape(maps, 2, 4)
    boxes[rng.random(maps) < 0.8, 1] = np.nan
    once = {"boxes": boxes, "box_sounding": ~np.isnan(boxes).any(axis=-1), "image_item": np.arange(maps)}
    return {name: np.concatenate([each, each]) for name, each in once.items()} | {
        "heat_map": rng.normal(size=(2 * maps, 14, 14)).astype(np.float32),
        "corresponds": np.repeat([True, False], maps),
    }


def all_relevances(items: int) -> Callable:
    labels = retrieval_items(items)["labels"]
    return lambda: relevance(labels, labels, class_relevance())


def evaluate_ndcg(items: int) -> Callable:
    arrays = retrieval_items(items)
    return lambda: ndcg.evaluate(arrays, class_relevance=class_relevance())


def evaluate_cca(items: int) -> Callable:
    arrays, fit = retrieval_items(items), retrieval_items(10_000, seed=1)
    return lambda: cca.evaluate(arrays, fit, class_relevance=class_relevance())


def evaluate_ciou(maps: int, protocol: str) -> Callable:
    arrays = localisation_items(maps)
    return lambda: ciou.evaluate(arrays, protocol=protocol)


def loop_ndcg(items: int) -> Callable:
    """Return the scripts' nDCG@30 of the four combinations, `PART` queries each: class pairs in a loop, two sorts."""
    arrays, between = retrieval_items(items), class_relevance()
    modes = arrays["image_embedding"], arrays["audio_embedding"]
    names = [np.flatnonzero(row) for row in arrays["labels"]]
    discounts = 1 / np.log2(np.arange(2, 32))

    def loop() -> float:
        scores = []
        for query_mode in modes:
            for database in modes:
                for query in range(PART):
                    distance = np.linalg.norm(database - query_mode[query], axis=1)
                    relevance = np.array([max(between[a, b] for a in names[query] for b in each) for each in names])
                    gain = 2.0**relevance - 1
                    retrieved, best = gain[np.argsort(distance)[:30]], np.sort(gain)[::-1][:30]
                    scores.append((retrieved @ discounts) / (best @ discounts))
        return float(np.mean(scores))

    return loop


def loop_ciou(maps: int) -> Callable:
    """Return the scripts' cIoU of `PART` maps, without baselines: upsample, sort, threshold, sum over masks."""
    arrays = localisation_items(maps)

    def loop() -> float:
        values = []
        for heat_map, boxes in zip(arrays["heat_map"][:PART], arrays["boxes"], strict=False):
            map_224 = cv2.resize(heat_map, dsize=(224, 224), interpolation=cv2.INTER_LINEAR)
            map_224 = (map_224 - map_224.min()) / (map_224.max() - map_224.min())
            truth = np.zeros((224, 224))
            for top, left, bottom, right in (224 * boxes[~np.isnan(boxes).any(axis=1)]).astype(int):
                truth[top:bottom, left:right] = 1
            prediction = np.zeros((224, 224))
            prediction[map_224 >= np.sort(map_224.flatten())[224 * 224 // 2]] = 1
            values.append(np.sum(prediction * truth) / (np.sum(truth) + np.sum(prediction * (truth == 0))))
        return float(np.mean(np.array(values) >= 0.5))

    return loop


# Name to the task, and the share of the items that it runs (the rest is extrapolated).
LINES: dict[str, tuple[Callable[[], Callable], float]] = {
    "relevance_20k": (functools.partial(all_relevances, 20_000), 1.0),
    "ndcg_4k": (functools.partial(evaluate_ndcg, 4361), 1.0),
    "ndcg_4k_loop": (functools.partial(loop_ndcg, 4361), PART / 4361),
    "ndcg_20k": (functools.partial(evaluate_ndcg, 20_000), 1.0),
    "ndcg_100k": (functools.partial(evaluate_ndcg, 100_000), 1.0),
    "cca_4k": (functools.partial(evaluate_cca, 4361), 1.0),
    "ciou_5k_median": (functools.partial(evaluate_ciou, 5158, "median"), 1.0),
    "ciou_5k_adaptive": (functools.partial(evaluate_ciou, 5158, "adaptive"), 1.0),
    "ciou_5k_half": (functools.partial(evaluate_ciou, 5158, "half"), 1.0),
    "ciou_5k_loop": (functools.partial(loop_ciou, 5158), PART / 5158),
}


def peak_mib() -> float:
    """Return the peak memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str) -> None:
    """Measure and print one line."""
    prepare, share = LINES[name]
    run = prepare()
    before = peak_mib()
    start = time.perf_counter(), time.process_time()
    run()
    wall, cpu = (
        (now - then) / share for now, then in zip((time.perf_counter(), time.process_time()), start, strict=True)
    )
    note = "" if share == 1 else f"  extrapolated from {share:.1%}"
    print(f"{name:<18}{wall:10.1f}{cpu:10.1f}{peak_mib() - before:12.0f}{note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=LINES, action="append", help="name of a line; all by default")
    arguments = parser.parse_args()
    print(f"{'':<18}{'seconds':>10}{'CPU s':>10}{'MiB beyond the input':>22}")
    context = multiprocessing.get_context("spawn")
    for name in LINES if arguments.only is None else arguments.only:
        process = context.Process(target=measure, args=(name,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
