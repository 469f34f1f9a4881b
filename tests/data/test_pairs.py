import itertools

import numpy as np
import pytest

from avlearn.data import pairs


def test_negatives_are_exactly_half_and_alternate():
    assert pairs.negative_slots("avc", 6).tolist() == [False, True] * 3
    assert not pairs.negative_slots("all_pairs", 5).any()


@pytest.mark.parametrize("batch", [2, 7])
def test_a_batch_without_two_negatives_is_an_error(batch):
    with pytest.raises(ValueError, match=rf"batch_per_worker={batch} .*--config.train.batch_per_worker"):
        pairs.negative_slots("avc", batch)


def derangements(video):
    """Return all assignments that never pair a video with itself, by brute force."""
    return [
        choice
        for choice in itertools.permutations(range(len(video)))
        if all(video[i] != video[j] for i, j in enumerate(choice))
    ]


@pytest.mark.parametrize(
    "video", [[1, 2], [5, 5, 9, 9], [1, 1, 1, 2, 3, 4], [3, 1, 3, 2, 1], [1, 2, 3, 4, 5], [2, 2, 2, 1, 1, 1]]
)
def test_partners_are_of_another_video_and_each_is_used_once(video):
    allowed = set(derangements(video))
    found = {
        tuple(pairs.partners(np.array(video), np.random.default_rng(seed).random(len(video)))) for seed in range(200)
    }
    assert found <= allowed
    assert len(found) > 1 or len(allowed) == 1


@pytest.mark.parametrize("video", [[1], [1, 1], [3, 3, 3]])
def test_clips_of_one_video_have_no_partners(video):
    assert pairs.most_draws(np.array(video)) == 0
    message = f"^each of {len(video)} clips has 0 partners of another video, fewer than 1 draws"
    with pytest.raises(ValueError, match=message):
        pairs.partners(np.array(video), np.arange(len(video)) / 10)


@pytest.mark.parametrize(("video", "most"), [([1, 1, 2], 1), ([4, 4, 4, 1, 2], 2), ([1, 2, 2, 2, 2, 2, 2, 3], 2)])
def test_the_others_take_turns_if_one_video_has_more_than_half(video, most):
    assert not derangements(video)
    video = np.array(video)
    assert pairs.most_draws(video) == most
    first = []
    for seed in range(50):
        found = pairs.partner_draws(video, np.random.default_rng(seed).random(len(video)), most)
        assert (video[found] != video[None]).all()
        assert all(len(set(of_clip)) == most for of_clip in found.T.tolist())
        for draw in found:
            uses = np.bincount(draw, minlength=len(video))[video != np.bincount(video).argmax()]
            assert uses.max() - uses.min() <= 1
        first.append(tuple(found[0]))
    assert len(set(first)) > 1
    with pytest.raises(ValueError, match=rf"has {most} partners of another video, fewer than {most + 1} draws"):
        pairs.partner_draws(video, np.arange(len(video)) / 10, most + 1)


@pytest.mark.parametrize(("video", "most"), [([1, 2, 3, 4, 5], 4), ([1, 1, 2, 2, 3, 3, 4], 4), ([1, 1, 2, 2], 1)])
def test_each_draw_has_different_partners(video, most):
    video, order = np.array(video), np.random.default_rng(0).random(len(video))
    found = pairs.partner_draws(video, order, most)
    assert found[0].tolist() == pairs.partners(video, order).tolist()
    assert (video[found] != video[None]).all()
    assert (np.sort(found, axis=1) == np.arange(len(video))).all()  # each sound once in each draw
    assert all(len(set(of_clip)) == most for of_clip in found.T.tolist())
    with pytest.raises(ValueError, match=rf"has {most} partners of another video, fewer than {most + 1} draws"):
        pairs.partner_draws(video, order, most + 1)


def test_sources_of_a_frame_are_paired_with_clips_in_which_they_sound_alone():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 1, 0]], bool)
    sounding = labels.copy()
    sounding[[0, 1]] = [[1, 1, 0], [0, 0, 0]]
    video = np.array([0, 1, 2, 0, 3, 3, 4])
    found = pairs.source_pairs(labels, sounding, video, seed=0)
    # Frame 0: class 0 is alone in clips 1 and 3 (of its own video), class 1 in 2 and 6. Frame 4: class 2 is alone in
    # clip 5 only, which is of its own video, so the frame is left out.
    assert found["image_item"].tolist() == [0, 0]
    assert found["source"].tolist() == [0, 1]
    assert found["audio_item"][0] == 1
    found = {int(pairs.source_pairs(labels, sounding, video, seed)["audio_item"][1]) for seed in range(20)}
    assert found == {2, 6}


def test_all_partners_are_equally_likely():
    counts = np.zeros((6, 6))
    rng = np.random.default_rng(0)
    for _ in range(5000):
        counts[np.arange(6), pairs.partners(np.arange(6), rng.random(6))] += 1
    off_diagonal = counts[~np.eye(6, dtype=bool)]
    assert np.abs(off_diagonal - 1000).max() < 150  # five standard deviations
    assert not np.diag(counts).any()


def test_positives_keep_their_audio():
    negative = np.array([False, True, False, True, False, True])
    video = np.array([1, 2, 3, 4, 2, 3])
    source = pairs.audio_source(negative, video, np.random.default_rng(0).random(6))
    assert source[[0, 2, 4]].tolist() == [0, 2, 4]
    assert sorted(source[[1, 3, 5]]) == [1, 3, 5]
    assert (video[source[[1, 3, 5]]] != video[[1, 3, 5]]).all()
    assert pairs.audio_source(np.zeros(3, bool), np.array([1, 1, 1]), np.zeros(3)).tolist() == [0, 1, 2]


def test_negatives_of_one_video_take_the_audio_of_any_row_of_the_batch():
    negative = np.arange(8) % 2 == 1
    for seed in range(50):
        order = np.random.default_rng(seed).random(8)
        # Three of four negatives are of video 1, but half of the batch is not: each audio is used once.
        video = np.array([2, 1, 3, 1, 4, 1, 5, 6])
        source = pairs.audio_source(negative, video, order)
        assert source[~negative].tolist() == [0, 2, 4, 6]
        assert (video[source[negative]] != video[negative]).all()
        assert len(set(source[negative])) == 4
        # All but one row are of video 1.
        video = np.array([1, 1, 1, 1, 2, 1, 1, 1])
        source = pairs.audio_source(negative, video, order)
        assert source.tolist() == [0, 4, 2, 4, 4, 4, 6, 4]
    assert pairs.audio_source(negative, np.ones(8, int), order).tolist() == list(range(8))
