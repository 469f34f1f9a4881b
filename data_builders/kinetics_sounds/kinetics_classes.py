"""The 34 classes of Kinetics-Sounds (Look, Listen and Learn, appendix A) with their labels in Kinetics-400."""

# In the paper's order. Some of its names are shorter than the labels; three have no label for their action.
KINETICS_LABELS = {
    "blowing nose": "blowing nose",
    "bowling": "bowling",
    "chopping wood": "chopping wood",
    "ripping paper": "ripping paper",
    "shuffling cards": "shuffling cards",
    "singing": "singing",
    "tapping pen": "tapping pen",
    "typing": "using computer",  # the nearest
    "blowing out": "blowing out candles",
    "dribbling ball": "dribbling basketball",
    "laughing": "laughing",
    "mowing the lawn by pushing lawnmower": "mowing lawn",
    "shoveling snow": "shoveling snow",
    "stomping": "stomping grapes",
    "tap dancing": "tap dancing",
    "tapping guitar": "tapping guitar",
    "tickling": "tickling",
    "fingerpicking": "strumming guitar",  # the nearest
    "patting": "petting animal (not cat)",  # the nearest
    "playing accordion": "playing accordion",
    "playing bagpipes": "playing bagpipes",
    "playing bass guitar": "playing bass guitar",
    "playing clarinet": "playing clarinet",
    "playing drums": "playing drums",
    "playing guitar": "playing guitar",
    "playing harmonica": "playing harmonica",
    "playing keyboard": "playing keyboard",
    "playing organ": "playing organ",
    "playing piano": "playing piano",
    "playing saxophone": "playing saxophone",
    "playing trombone": "playing trombone",
    "playing trumpet": "playing trumpet",
    "playing violin": "playing violin",
    "playing xylophone": "playing xylophone",
}

# Classes whose label above is only the nearest one in Kinetics-400.
NEAREST_ONLY = ("typing", "fingerpicking", "patting")


def class_labels(nearest: tuple[str, ...]) -> dict[str, str]:
    """Return the paper's class names with their Kinetics-400 labels, in the paper's order.

    Args:
      nearest: names in `NEAREST_ONLY` to include by their nearest label; the others are left out.

    Raises:
      ValueError: a name that is not in `NEAREST_ONLY`.
    """
    for name in nearest:
        if name not in NEAREST_ONLY:
            raise ValueError(f"nearest={nearest!r}: {name!r} is not one of {', '.join(NEAREST_ONLY)}")
    return {name: label for name, label in KINETICS_LABELS.items() if name not in NEAREST_ONLY or name in nearest}
