"""The page a person looks at: scores, training curves, retrieval, localization, for one or several runs."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from avlearn.config import difference, flat
from avlearn.types import TableRow
from avlearn.visuals import (
    choice,
    film,
    heatmap_overlay,
    localization,
    page,
    point_map,
    retrieval_curves,
    retrieval_grid,
    svg_chart,
    training_curves,
    unit_gallery,
)
from avlearn.visuals.album import Album, Examples
from avlearn.visuals.localization import Overlay, TriMap
from avlearn.visuals.score_table import Score, per_evaluator, scores
from avlearn.visuals.tri_map_overlay import NEGATIVE, POSITIVE, Thresholds

SHOWN = ("all_positive", "avc")  # of the pairings, those that the page reads
QUERIES = 4
RESULTS = 5
MAPPED = 800  # clips on the map of points, two elements of the page each


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run has to show.

    Attributes:
      name: of the run, as the page calls the network.
      config: every key of the run's config.
      results: content of `results.json`.
      table_rows: name of the evaluator to its rows in the table of scores.
      metrics: rows of `metrics.jsonl`: `step` and some of `train/loss`, `validation/accuracy`, ...
      arrays: evaluation arrays by pairing: `all_positive` for retrieval, `avc` for localization and mismatched sound;
        `moments` for films, `image_units` and `audio_units` (`unit_gallery.collect`) for units, where they are there.
      class_names: display names, in the order of the labels.
      examples: item numbers of the evaluated split to frames `[items, height, width, 3]` uint8, cropped as the network
        sees them, and log-spectrograms `[items, columns, bins]` float32, natural log of power, unscaled.
      film: item number to the clip's moments, see `film.FilmedClip`; used where the arrays have `moments`.
      thresholds: of the tri-map, for a network that was trained with it.
    """

    name: str
    config: Mapping
    results: Mapping
    table_rows: Mapping[str, Sequence[TableRow]]
    metrics: Sequence[Mapping]
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    class_names: Sequence[str]
    examples: Examples
    film: Callable[[int], film.FilmedClip]
    thresholds: Thresholds | None = None


@dataclasses.dataclass(frozen=True)
class Section:
    """One run's part of the page."""

    name: str
    colour: str
    album: Album
    scores: tuple[Score, ...]
    refused: tuple[str, ...]
    grids: Mapping[str, tuple[retrieval_grid.Row, ...]]
    items: tuple[int, ...]
    overlays: tuple[Overlay, ...]
    triplets: tuple[tuple[Overlay, Overlay], ...]
    tri_maps: tuple[TriMap, ...]
    thresholds: Thresholds | None
    point_map: point_map.PointMap | None
    no_map: str
    films: tuple[film.ShownFilm, ...]
    units: Mapping[str, tuple[unit_gallery.ShownUnit, ...]]
    preference: Mapping
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
    results = {run.name: run.results for run in runs}
    charts = training_curves.charts_of([run.config["data"]["pairing"] for run in runs])
    return page.write(
        path,
        "report.html",
        title=title,
        sections=[_section(run, number, sounds) for number, run in enumerate(runs)],
        charts=[(chart, training_curves.curves(metrics, chart)) for chart in charts],
        without_metrics=[run.name for run in runs if not run.metrics],
        differing_settings=_differing_settings([run.config for run in runs]),
        combinations=retrieval_grid.COMBINATIONS,
        modes=retrieval_grid.MODES,
        retrieval_charts=retrieval_curves.draw(results, [run.config["model"]["name"] for run in runs]),
        published_at=retrieval_curves.PUBLISHED_K,
        published_chance=retrieval_curves.PUBLISHED_CHANCE,
        zip=zip,
        heat_scale=heatmap_overlay.scale(),
        regions={"positive": POSITIVE, "negative": NEGATIVE},
        mapped=MAPPED,
        sounds=sounds,  # filled while the template asks the albums, and written last
    )


def _differing_settings(configs: Sequence[Mapping]) -> dict[str, list]:
    """Return the dotted keys in which the configs of runs differ, with the value of each; None where it is absent."""
    each = [flat(config) for config in configs]
    differing = {key for other in configs[1:] for key in difference(configs[0], other)}
    return {key: [values.get(key) for values in each] for key in sorted(differing)}


def _section(run: Run, number: int, sounds: dict[str, str]) -> Section:
    clips = run.arrays.get("all_positive", {})
    pairs = run.arrays.get("avc", {})
    queries = _queries(clips)
    grids = {
        f"{query}-{database}": retrieval_grid.grid(clips, query, database, queries, RESULTS)
        for query, database in retrieval_grid.COMBINATIONS
        if queries
    }
    chosen = localization.choose(pairs)
    found = [row for grid in grids.values() for entry in grid for row in (entry.query, *entry.results)]
    items = [int(clips["image_item"][row]) for row in found] + chosen.items(pairs)
    units = {mode: run.arrays[f"{mode}_units"] for mode in ("image", "audio") if f"{mode}_units" in run.arrays}
    items += [item for arrays in units.values() for item in arrays["item"].tolist()]
    album = Album(run.examples, items, _names(run), run.config["inputs"]["front_end"], sounds)
    draw = functools.partial(localization.overlay, album, run.class_names, pairs)
    overlays = tuple(draw(row) for row in chosen.located)
    return Section(
        name=run.name,
        colour=svg_chart.colour(number),
        album=album,
        scores=tuple(scores({run.name: run.results}, run.table_rows)),
        refused=tuple(found["refused"] for _, found in per_evaluator(run.results) if "refused" in found),
        grids=grids,
        items=tuple(clips["image_item"].tolist()) if queries else (),
        overlays=overlays,
        triplets=tuple(tuple(draw(row) for row in rows) for rows in chosen.triplets),
        tri_maps=_tri_maps(run, album, overlays, chosen.located),
        thresholds=run.thresholds,
        point_map=_point_map(run, number),
        no_map=localization.why_no_map(pairs),
        films=_films(run),
        units={mode: unit_gallery.shown(arrays, mode, album, run.class_names) for mode, arrays in units.items()},
        preference=run.results.get("unit_preference", {}),
        facts=_facts(run.config),
        config=json.dumps(run.config, indent=2, default=str),
    )


def _queries(clips: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    if "image_embedding" not in clips or "audio_embedding" not in clips:
        return ()
    return choice.by_class(clips["labels"], clips["image_item"], QUERIES)


def _tri_maps(run: Run, album: Album, overlays: Sequence[Overlay], rows: Sequence[int]) -> tuple[TriMap, ...]:
    """Those of the first overlays; none of a network that was not trained with the tri-map."""
    if run.thresholds is None:
        return ()
    shown = list(zip(overlays, rows, strict=True))[: localization.TRI_MAPS]
    return tuple(localization.tri_map(album, of, run.arrays["avc"], row, run.thresholds) for of, row in shown)


def _films(run: Run) -> tuple[film.ShownFilm, ...]:
    moments = run.arrays.get("moments", {"image_item": np.zeros(0, int)})
    front_end = run.config["inputs"]["front_end"]
    items = dict.fromkeys(moments["image_item"].tolist())  # once each, in their order
    return tuple(film.shown(item, run.film(item), moments, front_end) for item in items)


def _point_map(run: Run, number: int) -> point_map.PointMap | None:
    """Images and sounds on one map; None where the evaluation made none."""
    clips = run.arrays.get("all_positive", {})
    if "tsne_image_position" not in clips:
        return None
    positions = (clips["tsne_image_position"], clips["tsne_audio_position"])
    return point_map.draw(*positions, clips["labels"], run.class_names, name=f"map{number}", most=MAPPED)


def _names(run: Run) -> dict[int, str]:
    """Classes of every clip, by item number."""
    names = {}
    for arrays in (run.arrays.get(pairing, {}) for pairing in ("all_positive", "avc")):
        for item, labels in zip(arrays.get("image_item", np.zeros(0)).tolist(), arrays.get("labels", ()), strict=True):
            names[item] = " + ".join(run.class_names[label] for label in np.flatnonzero(labels))
    return names


def _facts(config: Mapping) -> dict[str, str]:
    train, inputs, evaluation = config["train"], config["inputs"], config["evaluation"]
    evaluated = evaluation["frame_pixels"]
    return {
        "network": f"{config['model']['name']}, width {config['model']['width']:g}",
        "training data": f"{config['data']['dataset']}, split {config['data']['train_split']}",
        "evaluated on": f"{evaluation['dataset'] or config['data']['dataset']}, split {evaluation['split']}",
        "frame": f"{inputs['frame_pixels']} px" + (f", evaluated at {evaluated} px" if evaluated else ""),
        "log-spectrogram": f"{inputs['columns']} x {inputs['bins']}, averaged over {inputs['pool']} x {inputs['pool']}",
        "training": f"{train['steps']:,} steps of {train['num_workers']} x {train['batch_per_worker']} pairs",
        "seed": str(config["seed"]),
    }
