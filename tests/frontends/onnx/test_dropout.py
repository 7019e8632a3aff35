"""Dropout: nothing outside of training, and masks that tell what was kept."""

import numpy as np
import pytest

from onnx_text import model, run

INPUTS = "float[40,50] x, float r, bool t"


def test_training_keeps_a_share_and_says_where():
    x = np.ones((40, 50), np.float32)
    dropping = model(INPUTS, "y, m = Dropout<seed=3>(x, r, t)", "y m")
    y, mask = dropping.run(x, np.float32(0.25), np.bool_(True), backend="numpy")
    assert 0.7 < mask.mean() < 0.8
    np.testing.assert_allclose(y, np.where(mask, x / 0.75, 0), rtol=1e-6)
    again, _ = model(INPUTS, "y, m = Dropout<seed=3>(x, r, t)", "y m").run(
        x, np.float32(0.25), np.bool_(True), backend="llvm"
    )
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("version", [7, 10, 13])
def test_elsewhere_nothing_is_dropped(version):
    x = np.ones((40, 50), np.float32)
    y, mask = run("float[40,50] x", "y, m = Dropout(x)", x, version=version, outputs="y m")
    np.testing.assert_array_equal(y, x)
    assert mask.all()
    assert mask.dtype == (np.bool_ if version >= 10 else np.float32)
