"""Random operators: distributions, seeds, types. ONNX does not say which numbers come out."""

import numpy as np
import pytest

from onnx_text import model, run_everywhere

LIKE = "float[200,100] x"
ZEROS = np.zeros((200, 100), np.float32)


def test_normal_numbers():
    (y,) = run_everywhere(
        "float z", "y = RandomNormal<shape=[100,200], mean=3., scale=2., seed=1.>()", np.float32(0)
    )
    assert abs(y.mean() - 3) < 0.05
    assert abs(y.std() - 2) < 0.05


def test_uniform_numbers():
    body = "y = RandomUniformLike<low=-1., high=2., dtype=11, seed=2.>(x)"
    (y,) = run_everywhere(LIKE, body, ZEROS)
    assert y.dtype == np.float64
    assert -1 <= y.min() < -0.99
    assert 1.99 < y.max() < 2


def test_every_run_gives_new_numbers_and_a_seed_the_same():
    body = "y = RandomNormalLike<seed=5.>(x)"
    one, other = (model(LIKE, body) for _ in range(2))
    first, second = one.run(ZEROS)[0], one.run(ZEROS)[0]
    assert (first != second).all()
    np.testing.assert_array_equal(other.run(ZEROS)[0], first)
    unseeded = [model(LIKE, "y = RandomUniformLike(x)").run(ZEROS)[0] for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_coins_fall_as_often_as_they_should():
    chances = np.broadcast_to(np.linspace(0, 1, 5, dtype=np.float32), (4000, 5)).copy()
    (y,) = run_everywhere("float[4000,5] x", "y = Bernoulli<dtype=9, seed=1.>(x)", chances)
    assert y.dtype == bool
    np.testing.assert_allclose(y.mean(0), chances[0], atol=0.03)
    assert not y[:, 0].any()
    assert y[:, 4].all()


@pytest.mark.parametrize("dtype", [6, 7])
def test_classes_are_drawn_by_their_weights(dtype):
    weights = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-9]])
    logits = np.log(weights).astype(np.float32)
    body = f"y = Multinomial<sample_size=4000, seed=3., dtype={dtype}>(x)"
    (y,) = run_everywhere("float[2,3] x", body, logits)
    assert y.shape == (2, 4000)
    assert y.dtype == {6: np.int32, 7: np.int64}[dtype]
    shares = [np.bincount(row, minlength=3) / 4000 for row in y]
    np.testing.assert_allclose(shares, weights, atol=0.03)
