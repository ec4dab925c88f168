"""Attention, forward, without a matrix of weights in memory: the CUDA C++ text.

A block computes QUERIES rows of `out` for one head, and of these a team of warps 16 * TEAM * STRIPS
(see `attention_products`). It walks over the keys in tiles of TILE, STEP of them at a time, while
the next tile is on its way:

                       keys, STEP at a time
               +------+------+------+---     registers of a lane (WIDTH 64, STRIPS 1, STEP 64)
               |             |               queries, the left factor       16
     queries   | S = scores  |         ->    scores, then weights           32, 16 when rounded
     of a team |             |               out                            32
               | out += P V  |               reference, total                4
               +------+------+------+---
               causal: not right of the diagonal

    shared memory: queries | keys, values | keys, values        (QUERIES + 4 TILE) * WIDTH * 2 bytes

The softmax is taken on the fly. With r a row's reference and c = scale * log2(e),

    P = 2**((S - r) c),   total = sum of P,   out = (sum of round(P) V) / total,

and the log of the sum of exp(S scale) is r scale + log(total). Any r gives the same quotient; it
must keep P in range. It is raised to the largest score so far, out and total shrunk along, when one
lies more than a factor 2**RANGE above it. So P <= 2**RANGE, far below float16's 65504, and the
largest P of a row is at least 1, as it would be if the reference followed each new maximum; but
then most steps would have to shrink out.

Reads queries once, keys and values once for each block of queries (all but the first time from the
second-level cache); writes out, and one float32 a query.

Source: Dao et al., FlashAttention (arXiv 2205.14135), algorithm 1; Dao, FlashAttention-2 (arXiv
2307.08691), sections 3.1.1 and 3.2: the quotient at the end, a block for some queries; the running
softmax is that of Milakov and Gimelshein (arXiv 1805.02867).
"""

from __future__ import annotations

FORWARD = r"""
constexpr int QUERIES = WARPS / TEAM * ROWS;
constexpr float RANGE = 8, LOWEST = -3.40282347e38f;

// What a lane holds of its team's queries.
struct Queries {
    Left left;
    float out[STRIPS][WIDTH / 8][4];
    float reference[STRIPS][2], total[STRIPS][2];  // of rows g and g + 8; total: this lane's part
};

// -infinity where a query may not look: keys from `end` on, and, if causal, those that follow it.
__device__ __forceinline__ void hide(
    float (&score)[STRIPS][STEP / 8][4], int query, int key, int end, bool causal) {
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int n = 0; n < STEP / 8; ++n)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                int column = key + column_of(n, i);
                if (column >= end || (causal && column > query + row_of(s, i)))
                    score[s][n][i] = -infinity();
            }
}

// The largest score of each of this lane's rows: of its own columns, then of its three neighbours'.
__device__ __forceinline__ void row_maximum(
    float (&highest)[STRIPS][2], const float (&score)[STRIPS][STEP / 8][4]) {
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float x = score[s][0][2 * half];
            #pragma unroll
            for (int n = 0; n < STEP / 8; ++n)
                x = fmaxf(x, fmaxf(score[s][n][2 * half], score[s][n][2 * half + 1]));
            x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
            highest[s][half] = fmaxf(x, __shfl_xor_sync(~0u, x, 2));
        }
}

// Raises the references of a warp's rows to `highest`, if one has fallen too far behind.
__device__ __forceinline__ void keep_in_range(
    Queries& rows, const float (&highest)[STRIPS][2], float factor) {
    bool behind = false;
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int half = 0; half < 2; ++half)
            behind |= (highest[s][half] - rows.reference[s][half]) * factor > RANGE;
    if (!__any_sync(~0u, behind)) return;
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float raised = fmaxf(rows.reference[s][half], highest[s][half]);
            float shrink = power_of_two((rows.reference[s][half] - raised) * factor);
            rows.reference[s][half] = raised;
            rows.total[s][half] *= shrink;
            #pragma unroll
            for (int n = 0; n < WIDTH / 8; ++n) {
                rows.out[s][n][2 * half] *= shrink;
                rows.out[s][n][2 * half + 1] *= shrink;
            }
        }
}

// STEP keys and values, from row `row` of their tiles on. EDGE: some may be hidden.
template <bool EDGE>
__device__ __forceinline__ void attend(
    Queries& rows, uint32 key_tile, uint32 value_tile, int row, float factor, int query, int key,
    int keys, bool causal) {
    float score[STRIPS][STEP / 8][4], highest[STRIPS][2];
    multiply_transposed<true>(score, rows.left, key_tile, row);
    wait_for_products<0>(score);
    if (EDGE) hide(score, query, key, keys, causal);
    row_maximum(highest, score);
    keep_in_range(rows, highest, factor);

    float (&weight)[STRIPS][STEP / 8][4] = score;
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                float shift = rows.reference[s][i / 2] * factor;
                weight[s][n][i] = power_of_two(fmaf(score[s][n][i], factor, -shift));
                rows.total[s][i / 2] += weight[s][n][i];
            }
    uint32 left[STRIPS][STEP / 16][4];
    pack_left(left, weight);
    multiply(rows.out, left, value_tile, row);
    wait_for_products<0>(rows.out);
}

// Divides by the totals, and writes out and the logarithms.
__device__ __forceinline__ void finish(
    Queries& rows, const Matrix& out, float* logsumexp, int query, uint32 tile, float scale) {
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float total = rows.total[s][half];
            total += __shfl_xor_sync(~0u, total, 1);
            total += __shfl_xor_sync(~0u, total, 2);
            float inverse = total == 0 ? 0 : 1 / total;  // a query may look nowhere
            #pragma unroll
            for (int n = 0; n < WIDTH / 8; ++n) {
                rows.out[s][n][2 * half] *= inverse;
                rows.out[s][n][2 * half + 1] *= inverse;
            }
            int row = query + row_of(s, 2 * half);
            if (lane() % 4 == 0 && row < out.rows)
                logsumexp[row] = fmaf(rows.reference[s][half], scale, logf(total));
        }
    store_rows(out, query, tile, rows.out);
}

struct Arguments { Stack query, key, value, out; float* logsumexp; Sizes sizes; };

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) attention_forward(Arguments given) {
    int queries = given.sizes.queries, keys = given.sizes.keys, heads = given.sizes.heads;
    bool causal = given.sizes.causal;
    Reader q = reader_of(matrix_of(given.query, heads, queries));
    Reader k = reader_of(matrix_of(given.key, heads, keys));
    Reader v = reader_of(matrix_of(given.value, heads, keys));
    Matrix out = matrix_of(given.out, heads, queries);
    float* logsumexp = given.logsumexp + (int64)blockIdx.x * queries;
    float scale = given.sizes.scale;
    float factor = scale * LOG2_E;

    uint32 query_tile = shared_memory(), stages = query_tile + bytes(QUERIES);
    int block_first = (gridDim.y - 1 - blockIdx.y) * QUERIES;  // the longest first
    int first = block_first + team() * ROWS;
    int block_end = causal ? min(keys, block_first + QUERIES) : keys;
    int end = causal ? min(keys, first + ROWS) : keys;  // no query looks at keys from here on
    int whole = causal ? min(keys, first + 1) : keys;   // every query looks at keys below

    auto load = [&](int key, int stage) {
        load_tile<TILE>(stages + stage * bytes(2 * TILE), k, key);
        load_tile<TILE>(stages + stage * bytes(2 * TILE) + bytes(TILE), v, key);
    };
    load_tile<QUERIES>(query_tile, q, block_first);
    load(0, 0);
    wait_for_copies();

    Queries rows = {};
    rows.left.start(query_tile, team() * ROWS);
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s) rows.reference[s][0] = rows.reference[s][1] = LOWEST;

    #pragma unroll 1
    for (int tile = 0, stage = 0; tile < block_end; tile += TILE, stage ^= 1) {
        if (tile + TILE < block_end) load(tile + TILE, stage ^ 1);
        uint32 key_tile = stages + stage * bytes(2 * TILE), value_tile = key_tile + bytes(TILE);
        #pragma unroll 1
        for (int row = 0; row < TILE; row += STEP) {
            int key = tile + row;
            if (key + STEP <= whole)
                attend<false>(rows, key_tile, value_tile, row, factor, first, key, keys, causal);
            else if (key < end)
                attend<true>(rows, key_tile, value_tile, row, factor, first, key, keys, causal);
        }
        wait_for_copies();
    }
    finish(rows, out, logsumexp, first, query_tile + bytes(team() * ROWS), scale);
}
"""
