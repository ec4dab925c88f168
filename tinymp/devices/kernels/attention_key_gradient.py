"""Attention, backward, the gradients of keys and values: the CUDA C++ text.

The mathematics and the division into two kernels stand in `attention_query_gradient`, which runs
before this one and leaves the summaries of the queries. Here a team's rows are keys, and it walks
over the queries, if causal from the first that looks at one of its keys:

                       queries, STEP at a time
               +------+------+------+---     registers of a lane (WIDTH 64, STRIPS 1, STEP 64)
      keys     | Sᵀ = K Qᵀ   |               Sᵀ, then Pᵀ      32, 16 when rounded
     of a team | V gᵀ        |         ->    V gᵀ, then dSᵀ   32, 16 when rounded
               |             |               dK, dV           32 each
               +------+------+------+---
               causal: not left of the diagonal

    shared memory: K | V | Q, g | Q, g | summaries | summaries

dS is made of the rounded weights, as in the NumPy rule: the others' registers are needed. Queries
past the last one have zeros for Q, g and summary, so that P = 1 and both sums gain 0.

Reads K and V once, Q, g and the summaries once for each block of keys; writes dK and dV.
"""

from __future__ import annotations

KEY_GRADIENT = r"""
constexpr int BLOCK_ROWS = WARPS / TEAM * ROWS;

// For STEP queries, from row `row` of their tiles on: dV += Pᵀ g and dK += dSᵀ Q.
template <bool EDGE>
__device__ __forceinline__ void add_key_gradient(
    float (&key_gradient)[STRIPS][WIDTH / 8][4], float (&value_gradient)[STRIPS][WIDTH / 8][4],
    const Left& keys, const Left& values, uint32 query_tile,
    uint32 gradient_tile, uint32 summaries, int row, float scale, int query, int key) {
    float weight[STRIPS][STEP / 8][4], slope[STRIPS][STEP / 8][4];
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n) {
        uint4 of_two = load_shared(summaries + (row + column_of(n, 0)) * sizeof(float2));
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                slope[s][n][i] = __uint_as_float(i % 2 ? of_two.w : of_two.y);
    }
    multiply_transposed<true>(weight, keys, query_tile, row);
    multiply_transposed<false>(slope, values, gradient_tile, row);
    wait_for_products<1>(weight);
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n) {
        uint4 of_two = load_shared(summaries + (row + column_of(n, 0)) * sizeof(float2));
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                float log = __uint_as_float(i % 2 ? of_two.z : of_two.x);
                weight[s][n][i] = power_of_two(fmaf(weight[s][n][i], scale * LOG2_E, -log));
                if (EDGE && key + row_of(s, i) > query + column_of(n, i)) weight[s][n][i] = 0;
            }
    }
    uint32 left[STRIPS][STEP / 16][4], left_slope[STRIPS][STEP / 16][4];
    pack_left(left, weight);
    multiply(value_gradient, left, gradient_tile, row);
    wait_for_products<1>(slope);
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                slope[s][n][i] = unpack_left(left, s, n, i) * (slope[s][n][i] * scale);
    pack_left(left_slope, slope);
    multiply(key_gradient, left_slope, query_tile, row);
    wait_for_products<0>(value_gradient);
    wait_for_products<0>(key_gradient);
}

struct Arguments {
    Stack gradient, query, key, value, key_gradient, value_gradient;
    const float2* summary;
    int64 summaries;  // of a head
    Sizes sizes;
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_key_gradient(Arguments given) {
    int queries = given.sizes.queries, keys = given.sizes.keys, heads = given.sizes.heads;
    bool causal = given.sizes.causal;
    float scale = given.sizes.scale;
    Reader g = reader_of(matrix_of(given.gradient, heads, queries));
    Reader q = reader_of(matrix_of(given.query, heads, queries));
    Reader k = reader_of(matrix_of(given.key, heads, keys));
    Reader v = reader_of(matrix_of(given.value, heads, keys));
    const float2* summary = given.summary + blockIdx.x * given.summaries;

    uint32 key_tile = shared_memory(), value_tile = key_tile + bytes(BLOCK_ROWS);
    uint32 stages = value_tile + bytes(BLOCK_ROWS), summary_tiles = stages + bytes(4 * TILE);
    int block_first = blockIdx.y * BLOCK_ROWS;
    int first = block_first + team() * ROWS;

    auto load = [&](int query, int stage) {
        uint32 tiles = stages + stage * bytes(2 * TILE);
        load_tile<TILE>(tiles, q, query);
        load_tile<TILE>(tiles + bytes(TILE), g, query);
        uint32 to = summary_tiles + stage * TILE * sizeof(float2) + threadIdx.x * 16;
        if (threadIdx.x < TILE / 2) copy_16_bytes(to, summary + query + threadIdx.x * 2);
    };
    int start = causal ? block_first / TILE * TILE : 0;  // queries before it look at no key of ours
    load_tile<BLOCK_ROWS>(key_tile, k, block_first);
    load_tile<BLOCK_ROWS>(value_tile, v, block_first);
    if (start < queries) load(start, 0);
    wait_for_copies();

    Left left_keys, left_values;
    left_keys.start(key_tile, team() * ROWS);
    left_values.start(value_tile, team() * ROWS);
    float key_sum[STRIPS][WIDTH / 8][4] = {}, value_sum[STRIPS][WIDTH / 8][4] = {};

    #pragma unroll 1
    for (int tile = start, stage = 0; tile < queries; tile += TILE, stage ^= 1) {
        if (tile + TILE < queries) load(tile + TILE, stage ^ 1);
        uint32 query_tile = stages + stage * bytes(2 * TILE);
        uint32 gradient_tile = query_tile + bytes(TILE);
        uint32 summary_tile = summary_tiles + stage * TILE * sizeof(float2);
        #pragma unroll 1
        for (int row = 0; row < TILE; row += STEP) {
            int query = tile + row;
            if (!causal || query >= first + ROWS - 1)
                add_key_gradient<false>(key_sum, value_sum, left_keys, left_values, query_tile,
                                        gradient_tile, summary_tile, row, scale, query, first);
            else if (query + STEP > first)
                add_key_gradient<true>(key_sum, value_sum, left_keys, left_values, query_tile,
                                       gradient_tile, summary_tile, row, scale, query, first);
        }
        wait_for_copies();
    }
    Matrix dk = matrix_of(given.key_gradient, heads, keys);
    Matrix dv = matrix_of(given.value_gradient, heads, keys);
    store_rows(dk, first, key_tile + bytes(team() * ROWS), key_sum);
    store_rows(dv, first, value_tile + bytes(team() * ROWS), value_sum);
}
"""
