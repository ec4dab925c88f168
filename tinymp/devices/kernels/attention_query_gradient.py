"""Attention, backward, the gradient of the queries: the CUDA C++ text.

With g the gradient of out, and the weights P computed again from the scores S = Q Kᵀ,

    P = exp(S scale - logsumexp),   D = sum over a row of g out,   dS = P (g Vᵀ - D) scale,
    dV = round(P)ᵀ g,               dQ = round(dS) K,              dK = round(dS)ᵀ Q.

Each row of a gradient belongs to one team of warps (see `attention_products`), which adds its terms
in order: no atomics, and equal bits in each run. That takes two kernels, of which each computes S
and g Vᵀ: 7 products, where 5 would do if blocks added up dQ together. Both walk as forward does:

    attention_query_gradient        rows: queries, BLOCK_ROWS a block.   columns: keys, in tiles
        S, g Vᵀ                     left: Q, g                           right: K, V
        dQ += dS K                  left: dS, in registers               right: K

    attention_key_gradient          rows: keys, BLOCK_ROWS a block.      columns: queries, in tiles
        Sᵀ = K Qᵀ, (g Vᵀ)ᵀ = V gᵀ   left: K, V                           right: Q, g
        dV += Pᵀ g, dK += dSᵀ Q     left: Pᵀ, dSᵀ, in registers          right: g, Q

The scores of the second are born transposed, so that they, too, are left factors as they stand. The
first leaves for it what belongs to a query: a summary (logsumexp log2(e), -D), 8 bytes. The sums of
g Vᵀ start at -D, which then need not be subtracted.

    registers of a lane (WIDTH 64, STRIPS 1, STEP 64)      S, then P 32    g Vᵀ, then dS 32    dQ 32
    shared memory                                          Q | g | K, V | K, V

Reads Q, g and out once, K and V once for each block; writes dQ, and the summaries.

Source: Dao et al., FlashAttention (arXiv 2205.14135), appendix B.2; Dao, FlashAttention-2 (arXiv
2307.08691), sections 3.1.2 and 3.2, where dQ is added up by atomics.
"""

from __future__ import annotations

QUERY_GRADIENT = r"""
constexpr int BLOCK_ROWS = WARPS / TEAM * ROWS;

// The sum of the products of two chunks of words.
__device__ __forceinline__ float dot(uint4 x, uint4 y) {
    uint32 a[4] = {x.x, x.y, x.z, x.w}, b[4] = {y.x, y.y, y.z, y.w};
    float sum = 0;
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        sum = fmaf(decode<Format>((uint16)a[i]), decode<Format>((uint16)b[i]), sum);
        sum = fmaf(decode<Format>(a[i] >> 16), decode<Format>(b[i] >> 16), sum);
    }
    return sum;
}

// For each query of a block (logsumexp log2(e), -D); past the last query (0, 0).
__device__ __forceinline__ void summarize(
    float2* summary, const Matrix& gradient, const Matrix& out, const float* logsumexp,
    int first) {
    int chunk = threadIdx.x % CHUNKS;
    #pragma unroll 4
    for (int i = threadIdx.x / CHUNKS; i < BLOCK_ROWS; i += LINES) {
        int row = first + i;
        bool inside = row < out.rows && chunk < HEAD / CHUNK;
        float sum = 0;
        if (inside)
            sum = dot(*(const uint4*)(gradient.data + row * gradient.stride + chunk * CHUNK),
                      *(const uint4*)(out.data + row * out.stride + chunk * CHUNK));
        #pragma unroll
        for (int other = 1; other < CHUNKS; other *= 2) sum += __shfl_xor_sync(~0u, sum, other);
        if (chunk == 0) {
            float log = row < out.rows ? logsumexp[row] : 0;
            if (log == -infinity()) log = infinity();  // it looks nowhere: its weights are 0
            summary[row] = make_float2(log * LOG2_E, -sum);
        }
    }
}

// Whether a query looks at a key.
__device__ __forceinline__ bool looks(int query, int key, int keys, bool causal) {
    return key < keys && !(causal && key > query);
}

// For STEP keys, from row `row` of their tiles on: dQ += dS K. EDGE: some may be hidden.
template <bool EDGE>
__device__ __forceinline__ void add_query_gradient(
    float (&query_gradient)[STRIPS][WIDTH / 8][4], const Left& queries,
    const Left& gradients, const float2 (&summary)[STRIPS][2], uint32 key_tile,
    uint32 value_tile, int row, float scale, int query, int key, int keys, bool causal) {
    float score[STRIPS][STEP / 8][4], slope[STRIPS][STEP / 8][4];
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int n = 0; n < STEP / 8; ++n)
            #pragma unroll
            for (int i = 0; i < 4; ++i) slope[s][n][i] = summary[s][i / 2].y;
    multiply_transposed<true>(score, queries, key_tile, row);
    multiply_transposed<false>(slope, gradients, value_tile, row);
    wait_for_products<1>(score);
    float (&weight)[STRIPS][STEP / 8][4] = score;
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                float power = fmaf(score[s][n][i], scale * LOG2_E, -summary[s][i / 2].x);
                weight[s][n][i] = power_of_two(power);
                if (EDGE && !looks(query + row_of(s, i), key + column_of(n, i), keys, causal))
                    weight[s][n][i] = 0;
            }
    wait_for_products<0>(slope);
    #pragma unroll
    for (int n = 0; n < STEP / 8; ++n)
        #pragma unroll
        for (int s = 0; s < STRIPS; ++s)
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                slope[s][n][i] = weight[s][n][i] * (slope[s][n][i] * scale);
    uint32 left[STRIPS][STEP / 16][4];
    pack_left(left, slope);
    multiply(query_gradient, left, key_tile, row);
    wait_for_products<0>(query_gradient);
}

struct Arguments {
    Stack gradient, query, key, value, out, query_gradient;
    const float* logsumexp;
    float2* summary;
    Sizes sizes;
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_query_gradient(Arguments given) {
    int queries = given.sizes.queries, keys = given.sizes.keys, heads = given.sizes.heads;
    bool causal = given.sizes.causal;
    float scale = given.sizes.scale;
    Matrix gradient = matrix_of(given.gradient, heads, queries);
    Matrix out = matrix_of(given.out, heads, queries);
    Reader g = reader_of(gradient);
    Reader q = reader_of(matrix_of(given.query, heads, queries));
    Reader k = reader_of(matrix_of(given.key, heads, keys));
    Reader v = reader_of(matrix_of(given.value, heads, keys));
    const float* logsumexp = given.logsumexp + (int64)blockIdx.x * queries;
    float2* summary = given.summary + (int64)blockIdx.x * gridDim.y * BLOCK_ROWS;

    uint32 query_tile = shared_memory(), gradient_tile = query_tile + bytes(BLOCK_ROWS);
    uint32 stages = gradient_tile + bytes(BLOCK_ROWS);
    int block_first = (gridDim.y - 1 - blockIdx.y) * BLOCK_ROWS;  // the longest first
    int first = block_first + team() * ROWS;
    int block_end = causal ? min(keys, block_first + BLOCK_ROWS) : keys;
    int end = causal ? min(keys, first + ROWS) : keys;  // no query looks at keys from here on
    int whole = causal ? min(keys, first + 1) : keys;   // every query looks at keys below

    auto load = [&](int key, int stage) {
        load_tile<TILE>(stages + stage * bytes(2 * TILE), k, key);
        load_tile<TILE>(stages + stage * bytes(2 * TILE) + bytes(TILE), v, key);
    };
    load_tile<BLOCK_ROWS>(query_tile, q, block_first);
    load_tile<BLOCK_ROWS>(gradient_tile, g, block_first);
    load(0, 0);
    summarize(summary, gradient, out, logsumexp, block_first);
    wait_for_copies();

    float2 own[STRIPS][2];
    #pragma unroll
    for (int s = 0; s < STRIPS; ++s)
        #pragma unroll
        for (int half = 0; half < 2; ++half) own[s][half] = summary[first + row_of(s, 2 * half)];
    Left left_queries, left_gradients;
    left_queries.start(query_tile, team() * ROWS);
    left_gradients.start(gradient_tile, team() * ROWS);
    float sum[STRIPS][WIDTH / 8][4] = {};

    #pragma unroll 1
    for (int tile = 0, stage = 0; tile < block_end; tile += TILE, stage ^= 1) {
        if (tile + TILE < block_end) load(tile + TILE, stage ^ 1);
        uint32 key_tile = stages + stage * bytes(2 * TILE), value_tile = key_tile + bytes(TILE);
        #pragma unroll 1
        for (int row = 0; row < TILE; row += STEP) {
            int key = tile + row;
            if (key + STEP <= whole)
                add_query_gradient<false>(sum, left_queries, left_gradients, own, key_tile,
                                          value_tile, row, scale, first, key, keys, causal);
            else if (key < end)
                add_query_gradient<true>(sum, left_queries, left_gradients, own, key_tile,
                                         value_tile, row, scale, first, key, keys, causal);
        }
        wait_for_copies();
    }
    Matrix to = matrix_of(given.query_gradient, heads, queries);
    store_rows(to, first, query_tile + bytes(team() * ROWS), sum);
}
"""
