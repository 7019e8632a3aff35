"""The operations. Each is defined once: type rule, NumPy meaning, gradient, value at an index.

Comes in: nodes. Goes out: nodes. Outside this package passes ask for an op's ``kind``, never for
its class.
"""
