"""What the attention kernels are built of: tiles in shared memory, fragments in registers.

A *tile* is some rows of one head of a stack of matrices, in shared memory. A row holds WIDTH 2-byte
words (32, 64 or 128: the size of a head, HEAD, filled up with zeros) in chunks of 16 bytes. In row
r chunk c stands at c ^ r % 8, so that one column's chunks of eight rows, which a tensor core's
operand consists of, lie in all 32 banks of shared memory and are read at once:

    WIDTH = 64     row 0   0 1 2 3 4 5 6 7
                   row 1   1 0 3 2 5 4 7 6      (32: two rows share 128 bytes, c ^ r / 2 % 4)
                   row 2   2 3 0 1 6 7 4 5

A *fragment* is a warp's share of a matrix in registers, as `mma.sync.m16n8k16` takes it: the rows
in strips of 16, the columns in steps of 8 (of a sum) or 16 (of a left factor). Lane 4g + t holds

    of a sum, 16 x 8, float32:        rows g and g + 8, columns 2t and 2t + 1;
    of a left factor, 16 x 16:        rows g and g + 8, columns 2t, 2t + 1, 2t + 8, 2t + 9.

So two neighbouring steps of a sum, rounded to 2-byte words, are a left factor as they stand: the
softmax of a product enters the next product without leaving the registers (`pack_left`).
(PTX ISA 9.0: ldmatrix, and the matrix fragments of mma.m16n8k16.)
"""

from __future__ import annotations

#: One instruction of PTX a function.
INSTRUCTIONS = r"""
// The address of this block's shared memory; tiles are multiples of 512 or 1024 bytes from there.
__device__ __forceinline__ uint32 shared_memory() {
    extern __shared__ __align__(1024) uint4 shared[];  // tensor cores take tiles from there
    return (uint32)__cvta_generic_to_shared(shared);
}

// Starts a copy of 16 bytes from global to shared memory; zeros where the source is outside.
__device__ __forceinline__ void copy_16_bytes(uint32 to, const void* from, bool inside = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(to), "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0) : "memory");
}

// Waits for the copies that this thread has started.
__device__ __forceinline__ void wait_for_own_copies() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}

// Four 8 x 8 matrices of 2-byte words. Lane 8i + r gives the address of row r of matrix i; lane
// 4g + t gets columns 2t and 2t + 1 of row g of each ("turned": rows 2t, 2t + 1 of column g).
__device__ __forceinline__ void load_matrices(uint32 (&words)[4], uint32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row) : "memory");
}
__device__ __forceinline__ void load_turned_matrices(uint32 (&words)[4], uint32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row) : "memory");
}

__device__ __forceinline__ uint4 load_shared(uint32 from) {
    uint4 words;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "r"(from) : "memory");
    return words;
}
__device__ __forceinline__ void store_shared(uint32 to, uint32 word) {
    asm volatile("st.shared.u32 [%0], %1;" :: "r"(to), "r"(word) : "memory");
}

// 2 to the power x, to about 2 units in the last place; 0 instead of a subnormal number.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two numbers rounded to 2-byte words, the first one low.
__device__ __forceinline__ uint32 pack(float first, float second) {
    uint32 words;
    if (MODE == nearest_even)
        asm("cvt.rn." TYPE "x2.f32 %0, %1, %2;" : "=r"(words) : "f"(second), "f"(first));
    else
        asm("cvt.rz." TYPE "x2.f32 %0, %1, %2;" : "=r"(words) : "f"(second), "f"(first));
    return words;
}
"""

TILES = r"""
constexpr int LANES = 32, THREADS = WARPS * LANES;
constexpr int STRIP = 16, CHUNK = 8, CHUNKS = WIDTH / CHUNK;  // words in a chunk, chunks in a row
constexpr float LOG2_E = 1.44269504f;

typedef long long int64;

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }
__device__ __forceinline__ int lane() { return threadIdx.x % LANES; }
__device__ __forceinline__ int warp() { return threadIdx.x / LANES; }

// The matrices of all heads, (batch, heads, rows, HEAD): the strides of the first three in bytes.
struct Stack { uint16* data; int64 batch, head, row; };
struct Sizes { int heads, queries, keys, causal; float scale; };

// That of one head: how far apart its rows are, in words, and how many there are.
struct Matrix { uint16* data; int64 stride; int rows; };

__device__ __forceinline__ Matrix matrix_of(const Stack& stack, int heads, int rows) {
    int batch = blockIdx.x / heads, head = blockIdx.x % heads;
    return {stack.data + (batch * stack.batch + head * stack.head) / 2, stack.row / 2, rows};
}

__device__ constexpr uint32 bytes(int rows) { return rows * WIDTH * 2; }

// Bytes from the start of a tile to a chunk.
__device__ __forceinline__ uint32 place(int row, int chunk) {
    if (WIDTH == 32) return row * 64 + (chunk ^ row / 2 % 4) * 16;
    return row / 8 * bytes(8) + chunk / 8 * 1024 + row % 8 * 128 + (chunk % 8 ^ row % 8) * 16;
}

// What one thread copies of a matrix: a chunk of every LINES-th row, starting with its own.
constexpr int LINES = THREADS / CHUNKS;

struct Reader {
    const uint16* data;
    int64 stride;
    int rows;  // how many there are from this thread's own on
};

__device__ __forceinline__ Reader reader_of(const Matrix& matrix) {
    int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    int rows = chunk < HEAD / CHUNK ? matrix.rows - row : 0;
    return {matrix.data + row * matrix.stride + chunk * CHUNK, matrix.stride, rows};
}

// Starts copying ROWS rows from row `first` on; zeros stand for what the matrix does not have.
template <int ROWS>
__device__ __forceinline__ void load_tile(uint32 tile, const Reader& reader, int first) {
    static_assert(ROWS % LINES == 0 && LINES % 8 == 0, "each thread copies as many rows");
    const uint16* from = reader.data + first * reader.stride;
    uint32 to = tile + place(threadIdx.x / CHUNKS, threadIdx.x % CHUNKS);
    #pragma unroll
    for (int row = 0; row < ROWS; row += LINES)
        copy_16_bytes(to + bytes(row), from + row * reader.stride, first + row < reader.rows);
}
"""

FRAGMENTS = r"""
constexpr int ROWS = TEAM * STRIPS * STRIP;  // of a team

// The same for all its lanes, and by the shuffle the compiler knows: products may depend on it.
__device__ __forceinline__ int team() { return __shfl_sync(~0u, warp() / TEAM, 0); }

// The row and the column, among its team's, of one of this lane's elements of a sum.
__device__ __forceinline__ int row_of(int s, int i) {
    return (s * TEAM + warp() % TEAM) * STRIP + lane() / 4 + i / 2 * 8;
}
__device__ __forceinline__ int column_of(int n, int i) { return n * 8 + lane() % 4 * 2 + i % 2; }

// A team's rows of a tile as a left factor: KEPT in registers, or read again for each product.
struct Left {
    uint32 tile;
    int first;
    uint32 kept[KEPT ? STRIPS : 1][KEPT ? WIDTH / 16 : 1][4];

    __device__ __forceinline__ void start(uint32 tile_, int first_) {
        tile = tile_;
        first = first_;
        #pragma unroll
        for (int s = 0; KEPT && s < STRIPS; ++s)
            #pragma unroll
            for (int k = 0; k < WIDTH / 16; ++k) read(kept[s][k], s, k);
    }
    // 16 x 16 words, columns from 16 k on.
    __device__ __forceinline__ void read(uint32 (&words)[4], int s, int k) const {
        int row = first + (s * TEAM + warp() % TEAM) * STRIP + lane() % 16;
        load_matrices(words, tile + place(row, 2 * k ^ lane() / 16));
    }
    __device__ __forceinline__ void fragment(uint32 (&words)[4], int s, int k) const {
        if (!KEPT) return read(words, s, k);
        #pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = kept[KEPT ? s : 0][KEPT ? k : 0][i];
    }
};

// A sum as the left factor of the next product, rounded to 2-byte words.
template <int STEPS>
__device__ __forceinline__ void pack_left(
    uint32 (&left)[STRIPS][STEPS / 2][4], const float (&sum)[STRIPS][STEPS][4]) {
    #pragma unroll
    for (int n = 0; n < STEPS; ++n)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int half = 0; half < 2; ++half)  // rows g and g + 8
                left[s][n / 2][n % 2 * 2 + half] =
                    pack(sum[s][n][2 * half], sum[s][n][2 * half + 1]);
}

// What became of an element of the sum.
template <int STEPS>
__device__ __forceinline__ float unpack_left(
    const uint32 (&left)[STRIPS][STEPS][4], int s, int n, int i) {
    return decode<Format>((uint16)(left[s][n / 2][n % 2 * 2 + i / 2] >> i % 2 * 16));
}

// Rounds a team's rows and writes them, from row `first` on, by way of a tile that it alone uses:
// there each lane finds 16 bytes of one row.
__device__ __forceinline__ void store_rows(
    const Matrix& matrix, int first, uint32 tile, const float (&sum)[STRIPS][WIDTH / 8][4]) {
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s) {
        #pragma unroll
        for (int n = 0; n < WIDTH / 8; ++n)
            #pragma unroll
            for (int i = 0; i < 4; i += 2) {
                uint32 low = encode<Format, MODE>(sum[s][n][i]);
                uint32 high = encode<Format, MODE>(sum[s][n][i + 1]);
                store_shared(tile + place(row_of(s, i), n) + lane() % 4 * 4, low | high << 16);
            }
        __syncwarp();
        int strip = (s * TEAM + warp() % TEAM) * STRIP, chunk = lane() % CHUNKS;
        #pragma unroll
        for (int row = strip + lane() / CHUNKS; row < strip + STRIP; row += LANES / CHUNKS)
            if (first + row < matrix.rows && chunk < HEAD / CHUNK)
                *(uint4*)(matrix.data + (first + row) * matrix.stride + chunk * CHUNK) =
                    load_shared(tile + place(row, chunk));
    }
}
"""
