import numpy as np
import pytest

from training.data.sample import Sample


def test_draw_of_a_request_depends_on_its_id_and_the_seed_alone():
    names = [f"r{number}" for number in range(2_000)]
    drawn = np.array([Sample(0.1, seed=1).is_drawn(one) for one in names])
    backward = [Sample(0.1, seed=1).is_drawn(one) for one in reversed(names)]
    assert drawn.tolist() == backward[::-1] and 150 < drawn.sum() < 250
    other = np.array([Sample(0.1, seed=2).is_drawn(one) for one in names])
    assert (drawn & other).sum() < 40
    larger = np.array([Sample(0.2, seed=1).is_drawn(one) for one in names])
    assert (larger >= drawn).all()


def test_share_of_one_keeps_every_request():
    assert all(Sample().is_drawn(f"r{number}") for number in range(100))


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match="Expected a share above 0 and at most 1, got"):
        Sample(share)
