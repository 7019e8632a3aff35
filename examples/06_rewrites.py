"""Lesson 6: what the passes do, rule by rule.

log(softmax(x)) written as its definition overflows for scores above 88. The compiler knows the
equation that does not, and applies it here.
"""

import numpy as np

import graphc as gc

scores = gc.input("scores", ("n", 3))
e = gc.exp(scores)
naive = gc.log(e / e.sum(1, keepdims=True))

if __name__ == "__main__":
    large = np.array([[1000.0, 999.0, 0.0]], np.float32)
    with np.errstate(all="ignore"):
        by_numpy = np.log(np.exp(large) / np.exp(large).sum(1, keepdims=True))
    log_softmax = gc.compile([scores], naive)
    print(f"NumPy, as written: {by_numpy}")
    print(f"graphc:            {log_softmax(large)}\n")
    print("The graph as written:")
    print(log_softmax.source("graph"), "\n")
    print("The rules that were applied, and where:")
    print(log_softmax.ledger, "\n")
    print("The graph afterwards:")
    print(log_softmax.source("optimised"))
