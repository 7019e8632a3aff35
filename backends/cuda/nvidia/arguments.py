"""The arguments of a launch as the driver wants them: an array of addresses of values.

Comes in: addresses and tensors. Goes out: memory in C's layout that stays put. A separate step
because it is done once for launches that are repeated.
"""

from __future__ import annotations

import ctypes
from typing import Any

from graphc.backends.cuda.device import Tensor
from graphc.backends.cuda.nvidia.driver import Driver
from graphc.errors import CompilerBug


class Arguments:
    """An array of pointers to the arguments; ``address`` is what the driver is given."""

    def __init__(self, driver: Driver, arguments: tuple[int | Tensor, ...]) -> None:
        self.values = (ctypes.c_uint64 * max(len(arguments), 1))()
        self.pointers = (ctypes.c_void_p * max(len(arguments), 1))()
        self.maps = []
        first = ctypes.addressof(self.values)
        for number, given in enumerate(arguments):
            if isinstance(given, Tensor):
                self.maps.append(tensor_map(driver, given))
                self.pointers[number] = int(self.maps[-1].getPtr())
            else:
                self.values[number] = given
                self.pointers[number] = first + 8 * number
        self.address = ctypes.addressof(self.pointers)


def tensor_map(driver: Driver, tensor: Tensor) -> Any:
    """The descriptor that the tensor memory accelerator reads. Elements are copied as bits: what
    they mean does not matter to it. Elements outside of the array are zeros.

    Rules (CUDA driver API, cuTensorMapEncodeTiled): the address and the strides are multiples of 16
    bytes, a box has at most 256 elements along each axis, and its rows are multiples of 16 bytes no
    longer than the swizzle. Raises `CompilerBug` where they are broken.
    """
    api = driver.api
    _check(tensor)
    long, short = api.cuuint64_t, api.cuuint32_t
    kinds = api.CUtensorMapDataType
    kind = {
        1: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT8,
        2: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT16,
        4: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT32,
        8: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT64,
    }[tensor.element_bytes]
    swizzle = "NONE" if tensor.swizzle == 0 else f"{tensor.swizzle}B"
    return driver(
        "cuTensorMapEncodeTiled",
        kind,
        len(tensor.sizes),
        tensor.address,
        [long(size) for size in tensor.sizes],
        [long(stride) for stride in tensor.strides],
        [short(size) for size in tensor.box],
        [short(1) for _ in tensor.box],
        api.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        getattr(api.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{swizzle}"),
        api.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )


def _check(tensor: Tensor) -> None:
    rank, row = len(tensor.sizes), tensor.box[0] * tensor.element_bytes
    rules = {
        "a box has as many axes as its array": len(tensor.box) == rank,
        "all axes but the contiguous one have a stride": len(tensor.strides) == rank - 1,
        "the address is a multiple of 16": tensor.address % 16 == 0,
        "strides are multiples of 16": not any(stride % 16 for stride in tensor.strides),
        "a box has 1 to 256 elements along each axis": all(0 < n <= 256 for n in tensor.box),
        "a row of a box is a multiple of 16 bytes": row % 16 == 0,
        "a row of a box is no longer than the swizzle": not 0 < tensor.swizzle < row,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise CompilerBug(f"no tensor map: {broken[0]}: {tensor}")
