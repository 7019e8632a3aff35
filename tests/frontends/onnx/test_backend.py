"""ONNX's own test runner, pointed at graphc the way anyone would."""

import unittest

import numpy as np
import onnx.backend.test
import pytest

from graphc.errors import UserError
from graphc.frontends.onnx import backend

RELU = "<ir_version: 8, opset_import: ['': 18]> f (float[N] x) => (float[N] y) { y = Relu(x) }"


@pytest.fixture
def relu():
    return onnx.parser.parse_model(RELU.replace("'", '"'))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the package that makes the cases
def test_the_runner_of_onnx_finds_and_runs_cases():
    suite = onnx.backend.test.BackendTest(backend, "graphc_suite")
    suite.include("^test_(add|conv_with_strides|reduce_sum).*_cpu$")
    result = unittest.TestResult()
    for case in suite.test_cases.values():
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    assert result.testsRun - len(result.skipped) > 10


def test_run_model_takes_arrays_by_place_and_by_name(relu):
    x = np.array([-1.0, 2.0], np.float32)
    np.testing.assert_array_equal(backend.run_model(relu, [x])[0], [0, 2])
    np.testing.assert_array_equal(backend.prepare(relu).run({"x": x})[0], [0, 2])


def test_devices(relu):
    assert backend.supports_device("CPU")
    assert backend.supports_device("CUDA:0")
    assert not backend.supports_device("TPU")
    with pytest.raises(UserError, match="no device 'TPU'"):
        backend.prepare(relu, "TPU")


def test_models_with_unknown_operators_are_not_compatible(relu):
    assert backend.is_compatible(relu)
    relu.graph.node[0].op_type = "StringNormalizer"
    assert not backend.is_compatible(relu)
