"""Counts and lists the clips of a dataset that were built and those that were not, with the reasons."""

import collections
import dataclasses
from collections.abc import Collection, Mapping

EXAMPLES = 3


@dataclasses.dataclass
class SplitCoverage:
    """Counts of one split.

    Attributes:
      expected: number of clips in the annotations.
      built: number of clips that have a record.
      cut_from_whole_videos: number of these that were cut from a longer video.
      with_several_files: number of clips with more than one file.
      passed_over: id of each clip that was not built from its first file, to the faults of its earlier files.
      tracks: id of each clip whose file has several video or audio tracks, to those that were chosen.
      not_built: reason to the ids of the clips.
      examples: reason to the messages of the first few clips.
      classes_expected, classes_built: class id to its number of clips.
    """

    expected: int = 0
    built: int = 0
    cut_from_whole_videos: int = 0
    with_several_files: int = 0
    passed_over: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tracks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    not_built: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)
    examples: dict[str, list[str]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    classes_expected: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    classes_built: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def share(self) -> float:
        """Share of the expected clips that were built; 1 if none were expected."""
        return self.built / self.expected if self.expected else 1.0

    def add(self, labels: tuple[str, ...], reason: str | None, detail: str = "") -> None:
        """Count a clip; `reason` is None if it was built."""
        self.expected += 1
        self.classes_expected.update(labels)
        if reason is None:
            self.built += 1
            self.classes_built.update(labels)
        elif detail and len(self.examples[reason]) < EXAMPLES:
            self.examples[reason].append(detail)

    def to_json(self, class_names: Mapping[str, str]) -> dict:
        """Return the split's entry in `coverage.json`."""
        return {
            "expected": self.expected,
            "built": self.built,
            "share": round(self.share, 6),
            "cut_from_whole_videos": self.cut_from_whole_videos,
            "with_several_files": self.with_several_files,
            "not_from_the_first_file": self.passed_over,
            "chosen_tracks": self.tracks,
            "not_built": {
                reason: {"count": len(ids), "clip_ids": ids, "examples": self.examples[reason]}
                for reason, ids in self.not_built.items()
            },
            "classes": {
                class_id: {"name": name, "expected": count, "built": self.classes_built[class_id]}
                for class_id, name in class_names.items()
                if (count := self.classes_expected[class_id])
            },
        }


def table(splits: Mapping[str, dict]) -> str:
    """Format the coverage as a table with a row for each split.

    Args:
      splits: split to `SplitCoverage.to_json()`.
    """
    reasons = sorted({reason for split in splits.values() for reason in split["not_built"]})
    rows = [["split", "expected", "built", "share", "from whole videos", *reasons]]
    for name, split in splits.items():
        share = f"{100 * split['share']:.1f} %"
        counts = [split["not_built"].get(reason, {"count": 0})["count"] for reason in reasons]
        rows.append([name, split["expected"], split["built"], share, split["cut_from_whole_videos"], *counts])
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not i else cell.rjust(width) for i, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in texts)
    ]
    for reason in reasons:
        examples = [
            text for split in splits.values() for text in split["not_built"].get(reason, {}).get("examples", [])
        ]
        lines += [f"{reason}, for example: {examples[0]}"] if examples else []
    return "\n".join(lines)
