"""Every function of the table takes what ONNX's schemas say about its operator, in all versions."""

import inspect
from itertools import pairwise

import onnx
import pytest

from graphc.frontends.onnx import registry

SCHEMAS = sorted(
    (s for s in onnx.defs.get_all_schemas_with_history() if not s.deprecated),
    key=lambda s: (s.domain, s.name, s.since_version),
)
OLDEST = 7
"""The oldest version of the standard operators that is supported."""


def versions():
    """Schemas of operators in the table, each with a version in which it held."""
    groups = {}
    for schema in SCHEMAS:
        groups.setdefault((schema.domain, schema.name), []).append(schema)
    for (domain, name), group in groups.items():
        for schema, follower in pairwise([*group, None]):
            oldest = OLDEST if domain == "" else 1
            version = max(schema.since_version, oldest)
            holds = follower is None or follower.since_version > version
            if holds and registry.find(domain, name, version):
                yield schema, version


@pytest.mark.parametrize(("schema", "version"), [*versions()], ids=lambda v: getattr(v, "name", v))
def test_a_function_takes_all_inputs_and_attributes(schema, version):
    entry = registry.find(schema.domain, schema.name, version)
    signature = inspect.signature(entry.function)
    node = ["node"] if entry.takes_node else []
    required = [name for name, a in schema.attributes.items() if a.required]
    assert fits(signature, schema.min_input, [*required, *node])
    for count in (schema.min_input, min(schema.max_input, schema.min_input + 8)):
        assert fits(signature, count, [*schema.attributes, *node])


def fits(signature, count, names):
    """Whether a function can be called with ``count`` inputs and the attributes ``names``."""
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True
