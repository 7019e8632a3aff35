"""Products of matrices: whole numbers, broadcasting, diagonals."""

import numpy as np

from onnx_text import run


def test_gemm_of_whole_numbers():
    a, b, c = (
        np.arange(n, dtype=np.int32).reshape(s) for n, s in ((6, (3, 2)), (6, (3, 2)), (2, (2,)))
    )
    body = "y = Gemm<transA=1, alpha=2.0, beta=3.0>(a, b, c)"
    (y,) = run("int32[3,2] a, int32[3,2] b, int32[2] c", body, a, b, c)
    np.testing.assert_array_equal(y, 2 * a.T @ b + 3 * c)


def test_gemm_asked_for_broadcasting_before_version_7():
    a = np.eye(2, dtype=np.float32)
    body = "y = Gemm<broadcast=1, transB=1>(a, a, c)"
    (y,) = run("float[2,2] a, float[2] c", body, a, np.float32([1, 2]), version=6)
    np.testing.assert_array_equal(y, [[2, 2], [1, 3]])


def test_einsum_with_spaces_and_a_diagonal():
    x = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    (y,) = run("float[2,3,3] x", 'y = Einsum<equation="b i i -> i">(x)', x)
    np.testing.assert_array_equal(y, np.einsum("bii->i", x))
