"""The language of models: tensors with NumPy's manners, and what is done with them.

Comes in: Python. Goes out: a Graph. Names follow the array API standard and NumPy.
"""
