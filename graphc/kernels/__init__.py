"""The second language: kernels. "For every index of this space, store this scalar expression."

Comes in: a graph with static sizes. Goes out: a `Program`: kernels in order, buffers, one arena. A
level of its own because fusion and memory are decided here: there are no tensors any more, and
there is no order inside a kernel yet.
"""
