"""graphc: a static-graph compiler for deep learning that a student can read and an engineer can use.

This file is the face of the package: it only hands names on.
"""
