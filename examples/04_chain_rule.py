"""Lesson 4: the chain rule, symbolically, twice, and as a drawing.

y = sin(x**2). By hand: y' = 2x cos(x**2), y'' = 2 cos(x**2) - 4x**2 sin(x**2).
"""

import math

import numpy as np

import graphc as gc

x = gc.input("x", (), "float64")
square = x * x
y = gc.sin(square)
(slope,) = gc.grad(y, [x])
(bend,) = gc.grad(slope, [x])

if __name__ == "__main__":
    f = gc.compile([x], (y, slope, bend))
    print("The gradient is a graph like any other:")
    print(f.graph, "\n")
    print("      x        y       y'    by hand      y''    by hand")
    for value in (0.5, 1.0, 2.0):
        square_of = value * value
        first = 2 * value * math.cos(square_of)
        second = 2 * math.cos(square_of) - 4 * square_of * math.sin(square_of)
        values = f(np.float64(value))
        print(f"{value:7.2f}  {values[0]:7.4f}  {values[1]:7.4f}  {first:9.4f}", end="")
        print(f"  {values[2]:7.4f}  {second:9.4f}")
    print("\n" + str(gc.check_grad(y, [x], {x: 1.3})))
    print(f"drawing: {gc.draw(y, wrt=[x], title='the chain rule').save('chain_rule.svg')}")
