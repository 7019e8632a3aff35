"""The third language: loops. Order, locals, threads and shared memory exist from here on.

Comes in: a kernel. Goes out: statements. A level of its own because a schedule is about order, and
kernels have none.
"""
