"""Learning rate and weight decay, by hand."""

import jax.numpy as jnp
import optax
import pytest

from avlearn.training import optimizer


def test_staircase_multiplies_every_16_epochs():
    schedule = optimizer.staircase(1e-4, steps_per_epoch=128.5, decay_factor=0.94, decay_epochs=16)
    assert float(schedule(2055)) == pytest.approx(1e-4)  # 16 x 128.5 = 2056 steps
    assert float(schedule(2056)) == pytest.approx(0.94e-4)
    assert float(schedule(3 * 2056)) == pytest.approx(1e-4 * 0.94**3)


def test_warmup_cosine_rises_then_falls():
    schedule = optimizer.warmup_cosine(1e-3, warmup_steps=100, steps=1100)
    assert [float(schedule(step)) for step in (0, 50, 100, 600, 1100)] == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # l2: the gradient is 3 + 0.1 * 2; Adam's first update is -rate * sign, whatever its size.
        ("l2", -0.01),
        # decoupled: the same, and the weight itself shrinks by rate * decay.
        ("decoupled", -0.01 - 0.01 * 0.1 * 2.0),
    ],
)
def test_first_update(kind, expected):
    adam = optimizer.adam(lambda step: 0.01, weight_decay=0.1, weight_decay_kind=kind)
    weight = jnp.array(2.0)
    update, _ = adam.update(jnp.array(3.0), adam.init(weight), weight)
    assert float(update) == pytest.approx(expected, rel=1e-5)


def test_l2_changes_the_direction_of_adam():
    adam = optimizer.adam(lambda step: 0.01, weight_decay=1.0, weight_decay_kind="l2")
    weight = jnp.array(2.0)
    update, _ = adam.update(jnp.array(-1.0), adam.init(weight), weight)  # -1 + 1 * 2 = 1 > 0
    assert float(update) == pytest.approx(-0.01, rel=1e-5)
    assert float(optax.apply_updates(weight, update)) == pytest.approx(1.99)


def test_unknown_weight_decay_is_refused():
    with pytest.raises(ValueError, match=r"'L2'; --config.train.weight_decay_kind takes l2, decoupled"):
        optimizer.adam(lambda step: 0.01, weight_decay=0.1, weight_decay_kind="L2")
