"""Two ways to multiply on tensor cores, one interface: what the attention kernels sum up with.

    multiply_transposed<FRESH>(sum, left, tile, row)    sum += left · (rows of a tile)ᵀ
    multiply(sum, left, tile, row)                      sum += left · (rows of a tile)
    wait_for_products<PENDING>(sum)                     sum may be read from here on

A *team* of TEAM warps multiplies together; it has 16 * TEAM * STRIPS rows, strip s of its warp w
begins at row 16 (TEAM s + w). The left factor is in registers or a tile, the right one is a tile,
the sum in registers, in float32.

BY_WARPS, compute capability 8.0 and later: each warp is a team. `mma.sync.m16n8k16` takes both
factors from registers, `ldmatrix` brings them there: 16 columns of the right factor by 16 rows at a
time, for all strips. A product is finished when the call returns.

BY_WARPGROUPS, compute capability 9.0: four warps are a team. `wgmma.m64nNk16` reads the right
factor, N = 32 to 128 columns of it, from shared memory, where tiles have one of the layouts that it
knows (swizzled by 128 or, if WIDTH is 32, 64 bytes), and works on while the warps do something
else: up to PENDING calls may still be unfinished after a wait. Each fragment is that of `mma.sync`.

    a descriptor    bits 0-13   address                            each in units of 16 bytes
                    bits 16-29  from 64 columns to the next 64
                    bits 32-45  from 8 rows to the next 8
                    bits 62-63  swizzle: 1 for 128 bytes, 2 for 64

(PTX ISA 9.0: mma, ldmatrix, and of wgmma.mma_async the matrix descriptor and canonical layouts.)
"""

from __future__ import annotations

BY_WARPS = r"""
// sum += left · right, 16 x 16 times 16 x 8.
__device__ __forceinline__ void multiply_add(
    float (&sum)[4], const uint32 (&left)[4], uint32 first, uint32 second) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(first), "r"(second));
}

// Waits until the tiles that this block has begun to copy are there, for all its warps.
__device__ __forceinline__ void wait_for_copies() {
    wait_for_own_copies();
    __syncthreads();
}

template <int PENDING, int STEPS>
__device__ __forceinline__ void wait_for_products(float (&)[STRIPS][STEPS][4]) {}

template <bool FRESH, int STEPS>
__device__ __forceinline__ void multiply_transposed(
    float (&sum)[STRIPS][STEPS][4], const Left& left, uint32 tile, int row) {
    #pragma unroll
    for (int s = 0; FRESH && s < STRIPS; ++s)
        #pragma unroll
        for (int n = 0; n < STEPS; ++n)
            #pragma unroll
            for (int i = 0; i < 4; ++i) sum[s][n][i] = 0;
    #pragma unroll
    for (int k = 0; k < WIDTH / 16; ++k) {
        uint32 a[STRIPS][4], b[4];
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s) left.fragment(a[s], s, k);
        #pragma unroll
        for (int n = 0; n < STEPS; n += 2) {
            int column = row + n * 8 + lane() / 16 * 8 + lane() % 8;
            load_matrices(b, tile + place(column, 2 * k ^ lane() / 8 % 2));
            #pragma unroll
            for (int s = 0; s < STRIPS; ++s) {
                multiply_add(sum[s][n], a[s], b[0], b[1]);
                multiply_add(sum[s][n + 1], a[s], b[2], b[3]);
            }
        }
    }
}

template <int STEPS>
__device__ __forceinline__ void multiply(
    float (&sum)[STRIPS][WIDTH / 8][4], const uint32 (&left)[STRIPS][STEPS][4], uint32 tile,
    int row) {
    #pragma unroll
    for (int k = 0; k < STEPS; ++k)
        #pragma unroll
        for (int n = 0; n < WIDTH / 8; n += 2) {
            uint32 b[4];
            load_turned_matrices(b, tile + place(row + k * 16 + lane() % 16, n ^ lane() / 16));
            #pragma unroll
            for (int s = 0; s < STRIPS; ++s) {
                multiply_add(sum[s][n], left[s][k], b[0], b[1]);
                multiply_add(sum[s][n + 1], left[s][k], b[2], b[3]);
            }
        }
}
"""


def _multiply_add(columns: int) -> str:
    """`sum += left · right`, or `sum = ` unless `adds`, for a right factor of so many columns.

    64 x 16 times 16 x columns; the left factor is in registers, or described like the right one,
    which is transposed if TURNED is 0.
    """
    registers = columns // 2
    places = ", ".join(f'"+f"(sum[{i // 4}][{i % 4}])' for i in range(registers))
    sum_ = "{" + ", ".join(f"%{i}" for i in range(registers)) + "}"
    words = "{" + ", ".join(f"%{registers + i}" for i in range(4)) + "}"

    def function(parameter: str, operand: str, values: str, used: int, turned: str) -> str:
        right, adds, turn = (f"%{registers + used + i}" for i in range(3))
        return f"""
template <int TURNED>
__device__ __forceinline__ void multiply_add(
    float (&sum)[{columns // 8}][4], {parameter}, uint64 right, bool adds) {{
    asm volatile("{{.reg .pred adds; setp.ne.b32 adds, {adds}, 0; "
        "wgmma.mma_async.sync.aligned.m64n{columns}k16.f32." TYPE "." TYPE " "
        "{sum_}, {operand}, {right}, adds, 1, 1, {turned}{turn};}}"
        : {places}
        : {values}, "l"(right), "r"((int)adds), "n"(TURNED) : "memory");
}}
"""

    four = '"r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3])'
    in_registers = function("const uint32 (&left)[4]", words, four, 4, "")
    return in_registers + function("uint64 left", f"%{registers}", '"l"(left)', 1, "0, ")


BY_WARPGROUPS = (
    "".join(map(_multiply_add, (32, 64, 128)))
    + r"""
// Waits until the tiles that this block has begun to copy are there, for the tensor cores, too.
__device__ __forceinline__ void wait_for_copies() {
    wait_for_own_copies();
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
}
__device__ __forceinline__ void start_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(PENDING) : "memory");
}
// Keeps the compiler from reading a sum before this point.
__device__ __forceinline__ void settle(float& sum) { asm volatile("" : "+f"(sum) :: "memory"); }

constexpr uint64 LAYOUT = (uint64)(1024 / 16) << 16 | (uint64)(bytes(8) / 16) << 32
                        | (uint64)(WIDTH == 32 ? 2 : 1) << 62;

// Rows of a tile from `row` on, columns from 16 k on; row is a multiple of 8.
__device__ __forceinline__ uint64 describe(uint32 tile, int row, int k) {
    return LAYOUT + (tile / 16 + (row / 8 * bytes(8) + k / 4 * 1024 + k % 4 * 32) / 16);
}

template <int PENDING, int STEPS>
__device__ __forceinline__ void wait_for_products(float (&sum)[STRIPS][STEPS][4]) {
    wait_for_products<PENDING>();
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int n = 0; n < STEPS; ++n)
            #pragma unroll
            for (int i = 0; i < 4; ++i) settle(sum[s][n][i]);
}

template <bool FRESH, int STEPS>
__device__ __forceinline__ void multiply_transposed(
    float (&sum)[STRIPS][STEPS][4], const Left& left, uint32 tile, int row) {
    start_products();
    #pragma unroll
    for (int k = 0; k < WIDTH / 16; ++k)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s) {
            uint64 right = describe(tile, row, k);
            if constexpr (KEPT)
                multiply_add<0>(sum[s], left.kept[s][k], right, !FRESH || k > 0);
            else
                multiply_add<0>(sum[s], describe(left.tile, left.first + s * TEAM * STRIP, k),
                                right, !FRESH || k > 0);
        }
    end_products();
}

template <int STEPS>
__device__ __forceinline__ void multiply(
    float (&sum)[STRIPS][WIDTH / 8][4], const uint32 (&left)[STRIPS][STEPS][4], uint32 tile,
    int row) {
    start_products();
    #pragma unroll
    for (int k = 0; k < STEPS; ++k)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            multiply_add<1>(sum[s], left[s][k], describe(tile, row + 16 * k, 0), true);
    end_products();
}
"""
)
