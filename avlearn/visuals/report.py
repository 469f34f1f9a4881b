"""The page a person looks at: scores, training curves, retrieval, localization, for one or several runs."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from avlearn.visuals import choice, heatmap_overlay, page, retrieval_grid, svg_chart, training_curves
from avlearn.visuals.album import Album, Examples, jpeg
from avlearn.visuals.boxes import Box, drawn
from avlearn.visuals.score_table import Score, scores, table

__all__ = ["Run", "table", "write"]

QUERIES = 4
RESULTS = 5
LOCALIZATIONS = 9
TRIPLETS = 6


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run has to show.

    Attributes:
      name: of the run, as the page calls the network.
      config: every key of the run's config.
      results: content of `results.json`.
      metrics: rows of `metrics.jsonl`: `step` and some of `train/loss`, `validation/accuracy`, ...
      arrays: evaluation arrays by pairing: `all_positive` for retrieval, `avc` for localization and mismatched sound.
      class_names: display names, in the order of the labels.
      examples: item numbers of the evaluated split to frames `[items, height, width, 3]` uint8, cropped as the network
        sees them, and log-spectrograms `[items, columns, bins]` float32, natural log of power, unscaled.
    """

    name: str
    config: Mapping
    results: Mapping
    metrics: Sequence[Mapping]
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    class_names: Sequence[str]
    examples: Examples


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A heat map over a frame, with one clip's sound."""

    image_item: int
    audio_item: int
    picture: str
    boxes: tuple[Box, ...]
    mode: tuple[float, float]
    hit: bool
    maximum: float


@dataclasses.dataclass(frozen=True)
class Section:
    """One run's part of the page."""

    name: str
    colour: str
    album: Album
    scores: tuple[Score, ...]
    grids: Mapping[str, tuple[retrieval_grid.Row, ...]]
    items: tuple[int, ...]
    overlays: tuple[Overlay, ...]
    triplets: tuple[tuple[Overlay, Overlay], ...]
    no_map: str
    facts: Mapping[str, str]
    config: str


def write(path: pathlib.Path, runs: Sequence[Run], title: str) -> pathlib.Path:
    """Writes one self-contained page about the runs to `path/index.html`, and returns the file's path.

    What a run cannot show (no heat map, no logged metrics, ...) is left out, with a sentence that says why.

    Args:
      path: directory, made where it does not exist.
      runs: one or several, of different names.
      title: heading of the page.

    Raises:
      ValueError: no runs, or two of one name; or the page cannot be written.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise ValueError(f"a report needs at least one run, each of its own name; got {names}")
    sounds: dict[str, str] = {}
    metrics = {run.name: run.metrics for run in runs}
    return page.write(
        path,
        "report.html",
        title=title,
        sections=[_section(run, number, sounds) for number, run in enumerate(runs)],
        charts=[(chart, training_curves.curves(metrics, chart)) for chart in training_curves.CHARTS],
        without_metrics=[run.name for run in runs if not run.metrics],
        combinations=retrieval_grid.COMBINATIONS,
        modes=retrieval_grid.MODES,
        zip=zip,
        heat_scale=heatmap_overlay.scale(),
        sounds=sounds,  # filled while the template asks the albums, and written last
    )


def _section(run: Run, number: int, sounds: dict[str, str]) -> Section:
    clips = run.arrays.get("all_positive", {})
    pairs = run.arrays.get("avc", {})
    queries = _queries(clips)
    grids = {
        f"{query}-{database}": retrieval_grid.grid(clips, query, database, queries, RESULTS)
        for query, database in retrieval_grid.COMBINATIONS
        if queries
    }
    no_map = _why_no_map(pairs)
    located = [] if no_map else _chosen(pairs, heatmap_overlay.in_view(pairs)[:, None], LOCALIZATIONS)
    triplets = [] if no_map else _chosen(pairs, heatmap_overlay.mismatched(pairs), TRIPLETS)
    found = [row for grid in grids.values() for entry in grid for row in (entry.query, *entry.results)]
    items = [int(clips["image_item"][row]) for row in found]
    mapped = [row for rows in (*located, *triplets) for row in rows]
    items += [int(pairs[of][row]) for row in mapped for of in ("image_item", "audio_item")]
    album = Album(run.examples, items, _names(run), run.config["inputs"]["front_end"], sounds)
    return Section(
        name=run.name,
        colour=svg_chart.colour(number),
        album=album,
        scores=tuple(scores({run.name: run.results})),
        grids=grids,
        items=tuple(clips["image_item"].tolist()) if queries else (),
        overlays=tuple(_overlay(run, album, pairs, row) for (row,) in located),
        triplets=tuple(tuple(_overlay(run, album, pairs, row) for row in rows) for rows in triplets),
        no_map=no_map,
        facts=_facts(run.config),
        config=json.dumps(run.config, indent=2, default=str),
    )


def _queries(clips: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    if "image_embedding" not in clips or "audio_embedding" not in clips:
        return ()
    return choice.by_class(clips["labels"], clips["image_item"], QUERIES)


def _chosen(arrays: Mapping[str, np.ndarray], rows: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """Some of the entries, each one or several rows of one frame: frames of different classes."""
    frames = rows[:, 0]
    picked = choice.by_class(arrays["labels"][frames], arrays["image_item"][frames], count)
    return [tuple(rows[entry].tolist()) for entry in picked]


def _why_no_map(arrays: Mapping[str, np.ndarray]) -> str:
    """Why no heat map of these pairs can be shown; empty where it can."""
    if not arrays:
        return "the run was not evaluated on pairs of frame and sound"
    if "heat_map" not in arrays:
        return "this network has no heat map"
    if "boxes" not in arrays:
        return "the split has no boxes"
    if not heatmap_overlay.in_view(arrays).size:
        return "no frame of the split shows what sounds"
    return ""


def _names(run: Run) -> dict[int, str]:
    """Classes of every clip, by item number."""
    names = {}
    for arrays in run.arrays.values():
        for item, labels in zip(arrays["image_item"].tolist(), arrays["labels"], strict=True):
            names[item] = " + ".join(run.class_names[label] for label in np.flatnonzero(labels))
    return names


def _overlay(run: Run, album: Album, arrays: Mapping[str, np.ndarray], row: int) -> Overlay:
    item, heat_map = int(arrays["image_item"][row]), arrays["heat_map"][row]
    drawable = (arrays["boxes"][row], arrays["box_label"][row], arrays["box_sounding"][row])
    mode = heatmap_overlay.mode(heat_map)
    return Overlay(
        image_item=item,
        audio_item=int(arrays["audio_item"][row]),
        picture=jpeg(heatmap_overlay.overlay(album.frames[item], heat_map)),
        boxes=drawn(*drawable, run.class_names),
        mode=mode,
        hit=heatmap_overlay.hit(mode, arrays["boxes"][row], arrays["box_sounding"][row]),
        maximum=float(heatmap_overlay.probability(heat_map).max()),
    )


def _facts(config: Mapping) -> dict[str, str]:
    train, inputs, evaluated = config["train"], config["inputs"], config["evaluation"]["frame_pixels"]
    return {
        "network": f"{config['model']['name']}, width {config['model']['width']:g}",
        "data": f"{config['data']['dataset']}, split {config['evaluation']['split']}",
        "frame": f"{inputs['frame_pixels']} px" + (f", evaluated at {evaluated} px" if evaluated else ""),
        "log-spectrogram": f"{inputs['columns']} x {inputs['bins']}, averaged over {inputs['pool']} x {inputs['pool']}",
        "training": f"{train['steps']:,} steps of {train['num_workers']} x {train['batch_per_worker']} pairs",
        "seed": str(config["seed"]),
    }
