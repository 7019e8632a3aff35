"""Runs small graphs on the numpy backend: the one-line helper of many tests."""

import numpy as np

import graphc as gc


def run(result, **arrays):
    """The value of a tensor (or a nest of tensors), given arrays for inputs of these names."""
    wanted = [gc.input(name, a.shape, a.dtype) for name, a in arrays.items()]
    assert not wanted or callable(result), "pass a function of tensors when there are arrays"
    outputs = result(*wanted) if callable(result) else result
    return gc.compile(wanted, outputs, backend="numpy")(*arrays.values())


def assert_close(ours, numpys, **tolerance):
    """Checks value, shape and dtype of a result against NumPy's."""
    numpys = np.asarray(numpys)
    assert ours.shape == numpys.shape
    assert ours.dtype == numpys.dtype
    np.testing.assert_allclose(ours, numpys, **{"rtol": 1e-5, "atol": 1e-6} | tolerance)


def check_gradients(layer, rng, *arrays, first=lambda outputs: outputs, backend="numpy"):
    """The gradients of a layer by its inputs and every parameter agree with differences."""
    kinds = ["float32" if a.dtype.kind == "f" else a.dtype for a in arrays]
    shapes = [a.shape for a in arrays]
    inputs = [gc.input(f"x{k}", *given) for k, given in enumerate(zip(shapes, kinds, strict=True))]
    y = first(layer(*inputs))
    loss = (y * rng.normal(size=y.shape)).sum()
    floats = [x for x in inputs if x.dtype.is_float]
    values = dict(zip(inputs, arrays, strict=True))
    report = gc.check_grad(loss, [*floats, *layer.parameters()], values, backend=backend)
    assert report, report
