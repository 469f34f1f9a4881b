"""Writes the report page of one or several runs: scores, training curves, retrieval, localization."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from avlearn.config import difference, flat
from avlearn.types import TableRow, per_evaluator
from avlearn.visuals import (
    clip_animation,
    clip_selection,
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
from avlearn.visuals.album import Album, Examples, encode_sounds
from avlearn.visuals.localization import Overlay, TriMap
from avlearn.visuals.score_table import Score, scores
from avlearn.visuals.tri_map_overlay import NEGATIVE, POSITIVE, Thresholds

PAIRINGS = ("all_positive", "avc")  # the pairings whose arrays the page reads
QUERIES = 4
RESULTS = 5
MAP_CLIPS = 800  # clips on the point map; each adds two elements to the page


@dataclasses.dataclass(frozen=True)
class Run:
    """The data of one run.

    Attributes:
      name: name of the run, the heading of its parts of the page.
      config: every key of the run's config.
      results: content of `results.json`.
      table_rows: name of the evaluator to its rows in the table of scores.
      metrics: rows of `metrics.jsonl`: `step` and some of `train/loss`, `validation/accuracy`, ...
      arrays: evaluation arrays by pairing: `all_positive` for retrieval, `avc` for localization and mismatched sound;
        optionally `moments` for animations, `image_units` and `audio_units` (`unit_gallery.collect`) for units.
      class_names: display names, in label order.
      examples: item numbers of the evaluated split to frames `[items, height, width, 3]` uint8, cropped as the
        network's input, and log-spectrograms `[items, columns, bins]` float32, natural log of power, not scaled.
      load_moments: function from an item number to the clip's moments; called if the arrays have `moments`.
      thresholds: thresholds of the tri-map, for a network that was trained with it.
      trained: sections `data` and `train` of the config that the checkpoint was trained with; None: not stated.
    """

    name: str
    config: Mapping
    results: Mapping
    table_rows: Mapping[str, Sequence[TableRow]]
    metrics: Sequence[Mapping]
    arrays: Mapping[str, Mapping[str, np.ndarray]]
    class_names: Sequence[str]
    examples: Examples
    load_moments: Callable[[int], clip_animation.ClipMoments]
    thresholds: Thresholds | None = None
    trained: Mapping | None = None


@dataclasses.dataclass(frozen=True)
class Section:
    """Contents of the page about one run.

    Attributes:
      album: the clips.
      refused: messages of evaluators that could not score the run.
      grids: "query-database" to the rows of a retrieval grid.
      items: item number of each row that the grids name.
      no_map: the reason why overlays are missing, or empty.
      preference: metrics of the evaluator `unit_preference`, if the run has them.
      facts: summary of the config.
      config: the complete config, as JSON.
    """

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
    animations: tuple[clip_animation.ClipAnimation, ...]
    units: Mapping[str, tuple[unit_gallery.UnitFigure, ...]]
    preference: Mapping
    facts: Mapping[str, str]
    config: str


def write(path: pathlib.Path, runs: Sequence[Run], title: str) -> pathlib.Path:
    """Write one self-contained page about the runs to `path/index.html` and return the file's path.

    If a run has nothing to show (no heat map, no logged metrics, ...), a sentence says why.

    Args:
      path: directory, created if necessary.
      runs: one or several runs, with different names.
      title: heading of the page.

    Raises:
      ValueError: `runs` is empty, two runs have the same name, or the page cannot be written.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise ValueError(f"a report needs at least one run, each with its own name; got {names}")
    sections = [_section(run, number) for number, run in enumerate(runs)]
    metrics = {run.name: run.metrics for run in runs}
    results = {run.name: run.results for run in runs}
    charts = training_curves.select_charts([run.config["data"]["pairing"] for run in runs])
    return page.write(
        path,
        "report.html",
        title=title,
        sections=sections,
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
        map_clips=MAP_CLIPS,
        sounds=encode_sounds(section.album for section in sections),
    )


def _differing_settings(configs: Sequence[Mapping]) -> dict[str, list]:
    """Return the dotted keys in which the runs' configs differ, each with its value in every run (None if absent)."""
    each = [flat(config) for config in configs]
    differing = {key for other in configs[1:] for key in difference(configs[0], other)}
    return {key: [values.get(key) for values in each] for key in sorted(differing)}


def _section(run: Run, number: int) -> Section:
    clips = run.arrays.get("all_positive", {})
    pairs = run.arrays.get("avc", {})
    queries = _queries(clips)
    grids = {
        f"{query}-{database}": retrieval_grid.grid(clips, query, database, queries, RESULTS)
        for query, database in retrieval_grid.COMBINATIONS
        if queries
    }
    selection = localization.select(pairs)
    units = {mode: run.arrays[f"{mode}_units"] for mode in ("image", "audio") if f"{mode}_units" in run.arrays}
    album = _album(run, grids, selection, units)
    draw = functools.partial(localization.draw_overlay, album, run.class_names, pairs)
    overlays = tuple(draw(row) for row in selection.matched)
    return Section(
        name=run.name,
        colour=svg_chart.colour(number),
        album=album,
        scores=tuple(scores({run.name: run.results}, run.table_rows)),
        refused=tuple(metrics["refused"] for _, metrics in per_evaluator(run.results) if "refused" in metrics),
        grids=grids,
        items=tuple(clips["image_item"].tolist()) if queries else (),
        overlays=overlays,
        triplets=tuple(tuple(draw(row) for row in rows) for rows in selection.triplets),
        tri_maps=_tri_maps(run, album, overlays, selection.matched),
        thresholds=run.thresholds,
        point_map=_point_map(run, number),
        no_map=localization.missing_map_reason(pairs),
        animations=_animations(run),
        units={mode: unit_gallery.draw(arrays, mode, album, run.class_names) for mode, arrays in units.items()},
        preference=run.results.get("unit_preference", {}),
        facts=_facts(run.config, run.trained),
        config=json.dumps(run.config, indent=2, default=str),
    )


def _queries(clips: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    if "image_embedding" not in clips or "audio_embedding" not in clips:
        return ()
    return clip_selection.one_per_class(clips["labels"], clips["image_item"], QUERIES)


def _album(
    run: Run,
    grids: Mapping[str, Sequence[retrieval_grid.Row]],
    selection: localization.Selection,
    units: Mapping[str, Mapping[str, np.ndarray]],
) -> Album:
    """Read every clip that the section shows, and mark those that can be played."""
    clips, pairs = run.arrays.get("all_positive", {}), run.arrays.get("avc", {})
    images, audio = set(), set()
    for (query, database), rows in ((name.split("-"), rows) for name, rows in grids.items()):
        for row in rows:
            (audio if query == "aud" else images).add(int(clips["image_item"][row.query]))
            (audio if database == "aud" else images).update(clips["image_item"][list(row.results)].tolist())
    for row in selection.rows:
        images.add(int(pairs["image_item"][row]))
        audio.add(int(pairs["audio_item"][row]))
    for mode, arrays in units.items():
        (audio if mode == "audio" else images).update(arrays["item"].tolist())
    return Album(run.examples, images | audio, audio, _names(run), run.config["inputs"]["front_end"])


def _tri_maps(run: Run, album: Album, overlays: Sequence[Overlay], rows: Sequence[int]) -> tuple[TriMap, ...]:
    """Draw the tri-maps of the first overlays; none if the network was not trained with the tri-map."""
    if run.thresholds is None:
        return ()
    first = list(zip(overlays, rows, strict=True))[: localization.TRI_MAPS]
    return tuple(
        localization.draw_tri_map(album, overlay, run.arrays["avc"], row, run.thresholds) for overlay, row in first
    )


def _animations(run: Run) -> tuple[clip_animation.ClipAnimation, ...]:
    moments = run.arrays.get("moments", {"image_item": np.zeros(0, int)})
    front_end = run.config["inputs"]["front_end"]
    items = dict.fromkeys(moments["image_item"].tolist())  # each once, in order
    return tuple(clip_animation.animate(item, run.load_moments(item), moments, front_end) for item in items)


def _point_map(run: Run, number: int) -> point_map.PointMap | None:
    """Draw the map of images and audio; None if the evaluation has no positions."""
    clips = run.arrays.get("all_positive", {})
    if "tsne_image_position" not in clips:
        return None
    positions = (clips["tsne_image_position"], clips["tsne_audio_position"])
    return point_map.draw(*positions, clips["labels"], run.class_names, name=f"map{number}", max_clips=MAP_CLIPS)


def _names(run: Run) -> dict[int, str]:
    """Return the classes of every clip, by item number."""
    names = {}
    for arrays in (run.arrays.get(pairing, {}) for pairing in ("all_positive", "avc")):
        for item, labels in zip(arrays.get("image_item", np.zeros(0)).tolist(), arrays.get("labels", ()), strict=True):
            names[item] = " + ".join(run.class_names[label] for label in np.flatnonzero(labels))
    return names


def _facts(config: Mapping, trained: Mapping | None) -> dict[str, str]:
    inputs, evaluation = config["inputs"], config["evaluation"]
    data, steps = "not stated", "not stated"
    if trained is not None:
        train = trained["train"]
        data = f"{trained['data']['dataset']}, split {trained['data']['train_split']}"
        steps = f"{train['steps']:,} steps, {train['num_workers']} worker(s) x {train['batch_per_worker']} pairs"
    evaluated = evaluation["frame_pixels"]
    return {
        "network": f"{config['model']['name']}, width {config['model']['width']:g}",
        "training data": data,
        "evaluated on": f"{evaluation['dataset'] or config['data']['dataset']}, split {evaluation['split']}",
        "frame": f"{inputs['frame_pixels']} px" + (f", evaluated at {evaluated} px" if evaluated else ""),
        "log-spectrogram": f"{inputs['columns']} x {inputs['bins']}, averaged over {inputs['pool']} x {inputs['pool']}",
        "training": steps,
        "seed": str(config["seed"]),
    }
