"""Many tensors in one launch: their addresses and sizes are a parameter of the kernel.

A kernel's parameters may take 4 KB, which is room for the addresses of dozens of tensors; a longer
list takes several launches. Parameters are copied at the launch. So there is no table to upload
before, nothing to wait for when an address has changed, and a captured CUDA graph holds its own.

The elements of a tensor are dealt to blocks in chunks, and a block looks up which tensor its chunk
is part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

#: CUDA C++: needs the constants `roles` and `most`, and `chunk`, the elements of a block.
TENSOR_LISTS = r"""
struct TensorLists {
    unsigned long long addresses[roles][most];
    long long sizes[most];
    int first_chunk[most + 1];  // tensor k has the chunks from first_chunk[k] to that of k + 1
    int count;
};

// Which tensor the chunk of this block belongs to: the last that does not begin after it.
__device__ __forceinline__ int tensor_of_block(const TensorLists &lists) {
    int low = 0, high = lists.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (lists.first_chunk[middle] <= (int)blockIdx.x) low = middle;
        else high = middle;
    }
    return low;
}
"""
_BYTES = 3840  # the rest of the 4 KB is for other parameters


def most_tensors(roles: int) -> int:
    """How many tensors one launch takes that has so many addresses for each."""
    return _BYTES // (8 * roles + 8 + 4)


class TensorLists:
    """Lists of tensors, one list for each role, in which tensors at one position have one size.

    Args:
        sizes: number of elements at each position.
        roles: how many lists there are. Set their addresses with `point`.
        chunk: elements that a block handles.
    """

    def __init__(self, sizes: Sequence[int], roles: int, chunk: int) -> None:
        most = most_tensors(roles)
        layout = np.dtype(
            [
                ("addresses", np.uint64, (roles, most)),
                ("sizes", np.int64, most),
                ("first_chunk", np.int32, most + 1),
                ("count", np.int32),
            ],
            align=True,
        )
        # Each is two views of one memory: with names for us, and as the bytes that CuPy copies.
        self._launches: list[tuple[Any, Any, int]] = []
        for start in range(0, len(sizes), most):
            part = np.asarray(sizes[start : start + most], np.int64)
            lists = np.zeros((), layout)
            lists["sizes"][: len(part)] = part
            lists["first_chunk"][1 : len(part) + 1] = np.cumsum(-(-part // chunk))
            lists["count"] = len(part)
            blocks = int(lists["first_chunk"][len(part)])
            self._launches.append((lists, lists.view(f"V{layout.itemsize}"), blocks))
        self.chunks = sum(blocks for _, _, blocks in self._launches)

    def point(self, role: int, arrays: Sequence[Any]) -> None:
        """Take the addresses of CuPy arrays, one at each position, for a role."""
        addresses = [array.data.ptr for array in arrays]
        start = 0
        for lists, _, _ in self._launches:
            end = start + int(lists["count"])
            lists["addresses"][role, : end - start] = addresses[start:end]
            start = end

    def launches(self) -> Iterator[tuple[Any, int]]:
        """The parameter and the number of blocks of each launch."""
        return ((parameter, blocks) for _, parameter, blocks in self._launches if blocks)
