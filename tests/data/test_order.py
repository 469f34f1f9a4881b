import numpy as np

from avlearn.data import order


def test_each_epoch_is_a_different_permutation():
    orders = [order.epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(50)) for each in orders)
    assert len({tuple(each) for each in orders}) == 4
    assert (order.epoch_order(50, 1, 1) == orders[3]).all()


def test_the_stream_is_a_sequence_of_epochs():
    def permutation(epoch):
        return order.epoch_order(7, 3, epoch)

    stream = np.concatenate([permutation(0), permutation(1), permutation(2)])
    for first in range(15):
        assert (order.clips_at(first + np.arange(6), 7, permutation) == stream[first : first + 6]).all()
