"""A row of any length that starts anywhere, read once, in pieces of 16 bytes.

Rows too long for registers stream past: a group of threads takes a row, and each thread every so
many pieces of it. Where a row does not begin at a multiple of 16 bytes, as with 50257 columns of 2
bytes, the few elements before the first such address and after the last are taken one by one.
"""

from __future__ import annotations

ROWS = r"""
// Calls of_piece(column, piece) or of_single(column, value) for a thread's share of the columns.
// Four pieces are asked for before the first is waited for.
template <class Format, int threads, class OfPiece, class OfSingle>
__device__ __forceinline__ void for_row(const typename Format::word *__restrict__ row, int n,
                                        int lane, OfPiece &&of_piece, OfSingle &&of_single) {
    constexpr int bytes = sizeof(typename Format::word), count = 16 / bytes, batch = 4;
    const int misplaced = (int)(reinterpret_cast<uint64>(row) % 16);
    const int head = min(n, misplaced ? (16 - misplaced) / bytes : 0);
    const int full = (n - head) / count, tail = head + full * count;
    if (lane < head) of_single(lane, decode<Format>(row[lane]));
    for (int p = lane; p < full; p += batch * threads) {
        Piece<Format, count> held[batch];
        #pragma unroll
        for (int i = 0; i < batch; ++i)
            if (p + i * threads < full)
                held[i] = piece_at<Format, count>(row + head + (p + i * threads) * count);
        #pragma unroll
        for (int i = 0; i < batch; ++i)
            if (p + i * threads < full) of_piece(head + (p + i * threads) * count, held[i]);
    }
    if (tail + lane < n) of_single(tail + lane, decode<Format>(row[tail + lane]));
}
"""
