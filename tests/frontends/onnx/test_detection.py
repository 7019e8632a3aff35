"""Boxes: which are kept, and what is in them."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run_everywhere

IMAGES = np.arange(2 * 3 * 6 * 7, dtype=np.float32).reshape(2, 3, 6, 7)
SUPPRESSION = "y = NonMaxSuppression<center_point_box=1>(b, s, m, i)"
BOXES = "float[1,3,4] b, float[1,1,3] s, int64 m, float i"


def test_boxes_are_fixed_with_the_program():
    boxes = np.array([[[5, 5, 4, 4], [6, 5, 4, 4], [20, 20, 2, 2]]], np.float32)
    scores = np.array([[[0.5, 0.9, 0.1]]], np.float32)
    one = model(BOXES, SUPPRESSION)
    for overlap, kept in ((0.5, [1, 2]), (0.7, [1, 0, 2])):
        (y,) = one.run(boxes, scores, np.array(5), np.float32(overlap))
        assert y[:, 2].tolist() == kept
    assert one.run(boxes, scores, np.array(0), np.float32(0.5))[0].shape == (0, 3)
    with pytest.raises(UserError, match="GC0106"):
        one(gc.input("b", (1, 3, 4)), scores, np.array(5), np.float32(0.5))


ROIS = np.array([[0, 0, 3, 3], [1, 0, 6, 5], [2, 2, 2, 2]], np.float32)
BATCH = np.array([0, 1, 1])
INPUTS = "float[2,3,6,7] x, float[3,4] r, int64[3] b"


def align(**attributes):
    options = {"output_height": 2, "output_width": 3, **attributes}
    return f"y = RoiAlign<{', '.join(f'{k}={v}' for k, v in options.items())}>(x, r, b)"


def test_a_slope_stays_a_slope():
    """The mean of samples of a linear function is its value in the middle."""
    body = align(sampling_ratio=2, coordinate_transformation_mode='"output_half_pixel"')
    (y,) = run_everywhere(INPUTS, body, IMAGES, ROIS, BATCH)
    middle_y, middle_x = [0.75, 2.25], [0.5, 1.5, 2.5]
    plane = [[7 * a + b for b in middle_x] for a in middle_y]
    np.testing.assert_allclose(y[0, 0], plane, rtol=1e-5)
    np.testing.assert_allclose(y[0, 2] - y[0, 0], np.full((2, 3), 84), rtol=1e-5)


def test_as_many_samples_as_the_boxes_need():
    body = align(sampling_ratio=0, coordinate_transformation_mode='"output_half_pixel"')
    adaptive = run_everywhere(INPUTS, body, IMAGES, ROIS, BATCH)[0]
    body = align(sampling_ratio=4, coordinate_transformation_mode='"output_half_pixel"')
    four = run_everywhere(INPUTS, body, IMAGES, ROIS, BATCH)[0]
    np.testing.assert_allclose(adaptive[1], four[1], rtol=1e-6)
    half = run_everywhere(INPUTS, align(), IMAGES, ROIS, BATCH)[0]
    assert (half[2] == 0).all()  # without area there is no sample


def test_gradients_flow_to_image_and_boxes():
    x = gc.input("x", (1, 2, 4, 5), "float64")
    r = gc.input("r", (2, 4), "float64")
    body = align(sampling_ratio=2)
    one = model("double[1,2,4,5] x, double[2,4] r, int64[2] b", body)
    rng = np.random.default_rng(0)
    corners = np.array([[0.3, 0.6, 2.4, 2.1], [1.1, 0.2, 3.7, 3.3]])
    y = one(x, r, np.array([0, 0]))
    assert gc.check_grad(y, [x, r], {x: rng.normal(size=(1, 2, 4, 5)), r: corners})


def test_the_largest_pixels_of_bins():
    rois = np.array([[0, 0, 0, 5, 3], [1, 2, 2, 2, 2], [1, 4, 4, 12, 9]], np.float32)
    body = "y = MaxRoiPool<pooled_shape=[2,3]>(x, r)"
    (y,) = run_everywhere("float[2,3,6,7] x, float[3,5] r", body, IMAGES, rois)
    np.testing.assert_array_equal(y[0, 0], [[8, 10, 12], [22, 24, 26]])
    np.testing.assert_array_equal(y[1, 0], np.full((2, 3), 126 + 16))
    np.testing.assert_array_equal(y[2, 0], [[167, 0, 0], [0, 0, 0]])
