"""Test the charts of nDCG against K and CCA directions: positions of curves, chance and the paper's scores."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from avlearn.visuals import retrieval_curves, svg_chart

PATH = "{http://www.w3.org/2000/svg}path"
USE = "{http://www.w3.org/2000/svg}use"
CHANCE = {"im-im": 0.125, "im-aud": 0.25, "aud-im": 0.25, "aud-aud": 0.125}


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(CHANCE, value)


def results() -> dict:
    """Return a run with nDCG at three K, chance rising with K, and CCA at two numbers of directions."""
    by_k = {str(k): scores(value) | {"chance": scores(value / 2)} for k, value in ((100, 0.75), (10, 0.25), (30, 0.5))}
    return {
        "ndcg": {"by_k": by_k, "baselines": {"chance": CHANCE}},
        "cca": {"by_components": {"16": scores(0.4), "64": scores(0.6)}, "baselines": {"chance": CHANCE}},
    }


def lines(svg: str, style: str) -> list[np.ndarray]:
    """Return the points (x, y) of the lines whose style contains a text."""
    return [
        np.array([float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]).reshape(-1, 2)
        for path in ElementTree.fromstring(svg).iter(PATH)
        if style in path.get("style", "") and "clip-path" in path.attrib
    ]


def marks(svg: str, colour: str) -> list[tuple[float, float]]:
    return [
        (float(use.get("x")), float(use.get("y")))
        for use in ElementTree.fromstring(svg).iter(USE)
        if f"stroke: {colour}" in use.get("style", "") and "clip-path" not in use.attrib
    ]


def test_curves_chance_and_the_papers_score_are_in_place():
    (by_k, _) = retrieval_curves.draw({"run": results()}, ["avenet"])
    assert set(by_k.svgs) == set(CHANCE)
    svg = by_k.svgs["im-aud"]
    colour = svg_chart.colour(0)
    (curve,) = lines(svg, f"stroke: {colour}; stroke-width: 2;")
    (chance,) = lines(svg, "stroke-dasharray")
    x, y = curve.T
    # K = 10, 30, 100 on a logarithmic axis; values 0.25, 0.5, 0.75 upwards; chance is half of each.
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(np.log10(3), abs=1e-3)
    unit = (y[0] - y[2]) / 0.5
    assert y[1] == pytest.approx(y[0] - 0.25 * unit, abs=1e-3)
    np.testing.assert_allclose(
        chance, np.stack([x, y[0] + unit * (0.25 - np.array([0.125, 0.25, 0.375]))], 1), atol=1e-2
    )
    # Table 1: AVE-Net, image to sound, .561 at K = 30.
    expected = (x[1], y[0] - (0.561 - 0.25) * unit)
    assert any(np.allclose(mark, expected, atol=1e-2) for mark in marks(svg, colour))
    (stem,) = lines(svg, "stroke-opacity: 0.7")
    np.testing.assert_allclose(stem, [(x[1], y[0] - (0.407 - 0.25) * unit), expected], atol=1e-2)
    assert by_k.published == {"AVE-Net": colour}


def test_a_published_score_without_a_position_is_a_horizontal_line():
    (_, cca) = retrieval_curves.draw({"run": results()}, ["l3net"])
    svg = cca.svgs["aud-aud"]
    (curve,) = lines(svg, f"stroke: {svg_chart.colour(0)}; stroke-width: 2;")
    level, chance = sorted(lines(svg, "stroke-dasharray"), key=lambda line: line[0, 1])
    unit = (curve[0, 1] - curve[1, 1]) / 0.2
    assert level[:, 1] == pytest.approx(curve[0, 1] - (0.649 - 0.4) * unit, abs=1e-2)  # table 1: L3+CCA
    assert chance[:, 1] == pytest.approx(curve[0, 1] + (0.4 - 0.125) * unit, abs=1e-2)
    assert cca.published == {"L3-Net with CCA": svg_chart.colour(0)}


def test_only_evaluated_runs_are_drawn():
    images_only = {"ndcg": {"by_k": {k: {"im-im": 0.5, "chance": {"im-im": 0.1}} for k in ("10", "30")}}}
    images_only["ndcg"]["baselines"] = {"chance": {"im-im": 0.1}}
    one_k = {"ndcg": {"by_k": {"30": scores(0.5)}, "baselines": {"chance": CHANCE}}}
    (figure,) = retrieval_curves.draw({"vgg16": images_only, "one": one_k, "none": {}}, ["vgg16", "avenet", "lvs"])
    assert set(figure.svgs) == {"im-im"}
    assert figure.runs == {"vgg16": svg_chart.colour(0)}
    assert figure.published == {"VGG16": svg_chart.colour(0)}
    assert retrieval_curves.draw({"one": one_k}, ["avenet"]) == []
    (unpublished, _) = retrieval_curves.draw({"run": results()}, ["avolnet"])
    assert unpublished.published == {}
