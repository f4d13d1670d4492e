// Convolutions of stride 1 with fewer multiplications: Winograd's minimal filtering, NHWC, in float32.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; the matrices after
// Cook and Toom, from evaluation points. A tile of A x A inputs (A = M + R - 1) gives M x M outputs:
// every tile goes through B' d B, every filter through G g G', the products over the channels are
// A * A matrix products, and A' m A brings their result back. 5 x 5 filters on tiles of 8 take 1/6.25
// of the multiplications, 3 x 3 filters on tiles of 7 take 1/4.6.
//
// Maps may be bf16 ones: they are read and written so, transformed and multiplied as floats, since
// bf16 has no bits to spare for the transforms.
//
// Forward, each thread takes a fixed set of pictures from beginning to end; for the gradient of the filters all of them
// take a round of pictures together, and each a fixed set of its sums. So equal calls give equal bits.
#include <algorithm>

#include "lanes.h"

constexpr int MR = VL == 16 ? 12 : VL == 8 ? 6 : 8;
constexpr int NR = 2 * VL;   // columns of a panel of the right factor; of its last one perhaps half
constexpr int LINE = 16;     // floats by which matrices are set apart, lest all of a tile fall into one set of the cache

namespace {

// Evaluation points in the order of their harm to precision; infinity is always the last one.
constexpr double POINTS[] = {0, 1, -1, 2, -2, .5, -.5, .75};

template <int M, int R>
struct Plan {
    static constexpr int A = M + R - 1;
    double in[A][A] = {}, filter[A][R] = {}, out[M][A] = {};
    constexpr Plan() {
        for (int i = 0; i < A - 1; ++i) {
            double f = 1;
            double p[A + 1] = {1};
            int degree = 0;
            for (int j = 0; j < A - 1; ++j)
                if (j != i) {
                    f *= POINTS[i] - POINTS[j];
                    for (int k = ++degree; k >= 0; --k)
                        p[k] = (k ? p[k - 1] : 0) - POINTS[j] * (k < degree ? p[k] : 0);
                }
            for (int k = 0; k < A; ++k) in[i][k] = k <= degree ? p[k] : 0;
            double power = 1;
            for (int k = 0; k < R; ++k, power *= POINTS[i]) filter[i][k] = power / f;
            power = 1;
            for (int k = 0; k < M; ++k, power *= POINTS[i]) out[k][i] = power;
        }
        double p[A + 1] = {1};
        int degree = 0;
        for (int j = 0; j < A - 1; ++j)
            for (int k = ++degree; k >= 0; --k)
                p[k] = (k ? p[k - 1] : 0) - POINTS[j] * (k < degree ? p[k] : 0);
        for (int k = 0; k < A; ++k) in[A - 1][k] = p[k];
        filter[A - 1][R - 1] = 1;
        out[M - 1][A - 1] = 1;
    }
};
template <int M, int R>
constexpr Plan<M, R> PLAN{};

// out[ROWS] = matrix[ROWS][COLUMNS] * in[COLUMNS], or its transpose; zeros cost nothing once unrolled.
enum Which { IN, FILTER, FILTER_T, OUT, OUT_T };
template <int M, int R, Which W>
constexpr double coefficient(int i, int k) {
    if (W == IN) return PLAN<M, R>.in[i][k];
    if (W == FILTER) return PLAN<M, R>.filter[i][k];
    if (W == FILTER_T) return PLAN<M, R>.filter[k][i];
    if (W == OUT) return PLAN<M, R>.out[i][k];
    return PLAN<M, R>.out[k][i];
}
template <int M, int R, Which W, int I, int K, int COLUMNS>
inline __attribute__((always_inline)) void term(const V* x, int stride, V& sum) {
    constexpr double c = coefficient<M, R, W>(I, K);
    if constexpr (c == 1)
        sum += x[K * stride];
    else if constexpr (c == -1)
        sum -= x[K * stride];
    else if constexpr (c != 0)
        sum += float(c) * x[K * stride];
    if constexpr (K + 1 < COLUMNS) term<M, R, W, I, K + 1, COLUMNS>(x, stride, sum);
}
template <int M, int R, Which W, int I, int ROWS, int COLUMNS>
inline __attribute__((always_inline)) void product(const V* x, int xs, V* y, int ys) {
    V sum = {};
    term<M, R, W, I, 0, COLUMNS>(x, xs, sum);
    y[I * ys] = sum;
    if constexpr (I + 1 < ROWS) product<M, R, W, I + 1, ROWS, COLUMNS>(x, xs, y, ys);
}
// y (ROWS x ROWS) = matrix * x (COLUMNS x COLUMNS) * matrix'
template <int M, int R, Which W, int ROWS, int COLUMNS>
inline __attribute__((always_inline)) void both(const V* x, V* y) {
    V half[ROWS * COLUMNS];
    for (int k = 0; k < COLUMNS; ++k) product<M, R, W, 0, ROWS, COLUMNS>(x + k, COLUMNS, half + k, COLUMNS);
    for (int i = 0; i < ROWS; ++i) product<M, R, W, 0, ROWS, COLUMNS>(half + i * COLUMNS, 1, y + i * ROWS, 1);
}

// C (ROWS x W) (+)= A (ROWS x K) * B (K x W), W = VECTORS * VL: element (i, k) of A at a[i * ai + k * ak].
template <int ROWS, int VECTORS, bool ADD>
inline void block(int64_t K, const float* a, int64_t ai, int64_t ak, const float* b, float* c, int64_t cs) {
    V s[ROWS][VECTORS];
    for (int i = 0; i < ROWS; ++i)
        for (int v = 0; v < VECTORS; ++v) s[i][v] = ADD ? load(c + i * cs + v * VL) : V{};
    for (int64_t k = 0; k < K; ++k, b += VECTORS * VL, a += ak) {
        V row[VECTORS];
        for (int v = 0; v < VECTORS; ++v) row[v] = load(b + v * VL);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const V x = every(a[i * ai]);
            for (int v = 0; v < VECTORS; ++v) s[i][v] = fused(x, row[v], s[i][v]);
        }
    }
    for (int i = 0; i < ROWS; ++i)
        for (int v = 0; v < VECTORS; ++v) store(c + i * cs + v * VL, s[i][v]);
}
template <int ROWS, int VECTORS>
inline void rest(int rows, int64_t K, const float* a, int64_t ai, const float* b, float* c, int64_t cs) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS)
            block<ROWS, VECTORS, false>(K, a, ai, 1, b, c, cs);
        else
            rest<ROWS - 1, VECTORS>(rows, K, a, ai, b, c, cs);
    }
}
// C (rows x W) = A (rows x K, row-major) * B (a panel, K x W).
template <int VECTORS>
void multiply(int64_t rows, int64_t K, const float* a, const float* b, float* c, int64_t cs) {
    int64_t i = 0;
    for (; i + MR <= rows; i += MR) block<MR, VECTORS, false>(K, a + i * K, K, 1, b, c + i * cs, cs);
    rest<MR - 1, VECTORS>(int(rows - i), K, a + i * K, K, b, c + i * cs, cs);
}
// C (rows x W) (+)= A' * B for an even number of rows: A has K rows, ak floats apart, B is a panel, K x W.
template <int VECTORS, bool ADD>
void multiply_turned(int64_t rows, int64_t K, const float* a, int64_t ak, const float* b, float* c, int64_t cs) {
    int64_t i = 0;
    for (; i + MR <= rows; i += MR) block<MR, VECTORS, ADD>(K, a + i, 1, ak, b, c + i * cs, cs);
    for (; i + 2 <= rows; i += 2) block<2, VECTORS, ADD>(K, a + i, 1, ak, b, c + i * cs, cs);
}

// Where a row's value for output o lies in panels of so many rows: NR outputs each, the last one those that are left.
inline int64_t in_panels(int64_t outputs, int64_t rows, int64_t row, int64_t o) {
    const int64_t first = o / NR * NR;
    return first * rows + row * std::min<int64_t>(NR, outputs - first) + o - first;
}

struct Shape {
    int64_t pictures, height, width, channels, stride, outputs, ostride, pad;  // strides: values from pixel to pixel
    int64_t narrow;  // 1: maps are bf16 ones, and Narrow in what follows; filters and biases are float32 always
};

template <int M, int R>
struct Winograd {
    static constexpr int A = M + R - 1, AA = A * A;
    int64_t oh, ow, th, tw, tiles, chunk;  // chunk: pictures of a round
    const Shape& s;
    explicit Winograd(const Shape& shape, int64_t pictures) : chunk(pictures), s(shape) {
        oh = s.height + 2 * s.pad - R + 1, ow = s.width + 2 * s.pad - R + 1;
        th = (oh + M - 1) / M, tw = (ow + M - 1) / M, tiles = th * tw;
    }

    // B' d B of one tile and VL channels
    template <class T>
    inline void gather(const T* picture, int64_t i, int64_t j, V* y) const {
        V d[AA];
        const int64_t top = i * M - s.pad, left = j * M - s.pad;
        if (top >= 0 && left >= 0 && top + A <= s.height && left + A <= s.width) {
            const T* p = picture + (top * s.width + left) * s.stride;
            for (int r = 0; r < A; ++r, p += s.width * s.stride)
                for (int q = 0; q < A; ++q) d[r * A + q] = load(p + q * s.stride);
        } else
            for (int r = 0; r < A; ++r)
                for (int q = 0; q < A; ++q) {
                    const int64_t h = top + r, w = left + q;
                    const bool inside = h >= 0 && w >= 0 && h < s.height && w < s.width;
                    d[r * A + q] = inside ? load(picture + (h * s.width + w) * s.stride) : V{};
                }
        both<M, R, IN, A, A>(d, y);
    }

    // Floats that threads work in: each of them forward, all of them after the gradient of the weights.
    int64_t room(bool sums) const {
        return AA * (chunk * tiles * (s.channels + s.outputs + LINE) + 3 * LINE + (sums ? s.channels * s.outputs : 0));
    }

    // y from x and the transformed filters u
    template <class T>
    void forward(const T* x, const float* u, const float* bias, T* y, float* work, int threads) const {
        const int64_t rounds = (s.pictures + chunk - 1) / chunk;
        on_threads(threads, [&](int me) {
            float *const v = work + me * room(false), *const m = v + AA * (chunk * tiles * s.channels + LINE);
            for (int64_t round = me; round < rounds; round += threads) {
                const int64_t first = round * chunk, n = std::min(chunk, s.pictures - first), rows = n * tiles;
                const int64_t in = rows * s.channels + LINE, out = rows * s.outputs + LINE;
                float* to = v;
                for (int64_t k = 0; k < n; ++k) {
                    const T* picture = x + (first + k) * s.height * s.width * s.stride;
                    for (int64_t i = 0; i < th; ++i)
                        for (int64_t j = 0; j < tw; ++j, to += s.channels)
                            for (int64_t c = 0; c < s.channels; c += VL) {
                                V t[AA];
                                gather(picture + c, i, j, t);
                                for (int f = 0; f < AA; ++f) store(to + f * in + c, t[f]);
                            }
                }
                for (int f = 0; f < AA; ++f) {
                    const float *const a = v + f * in, *b = u + f * (s.channels * s.outputs + LINE);
                    for (int64_t o = 0; o < s.outputs; o += NR, b += s.channels * NR)
                        (o + NR <= s.outputs ? multiply<2> : multiply<1>)(rows, s.channels, a, b, m + f * out + o, s.outputs);
                }
                const float* from = m;
                for (int64_t k = 0; k < n; ++k) {
                    T* picture = y + (first + k) * oh * ow * s.ostride;
                    for (int64_t i = 0; i < th; ++i)
                        for (int64_t j = 0; j < tw; ++j, from += s.outputs)
                            for (int64_t o = 0; o < s.outputs; o += VL) {
                                V t[AA], r[M * M];
                                for (int f = 0; f < AA; ++f) t[f] = load(from + f * out + o);
                                both<M, R, OUT, M, A>(t, r);
                                const V b = bias ? load(bias + o) : V{};
                                const int64_t high = std::min<int64_t>(M, oh - i * M), wide = std::min<int64_t>(M, ow - j * M);
                                for (int64_t p = 0; p < high; ++p)
                                    for (int64_t q = 0; q < wide; ++q)
                                        store(picture + ((i * M + p) * ow + j * M + q) * s.ostride + o, r[p * M + q] + b);
                            }
                }
            }
        });
    }

    // w: (R * R, channels, outputs); u: AA matrices, LINE apart, each in panels of NR outputs and as many rows as channels
    static void filters(const float* w, int64_t channels, int64_t outputs, float* u, int threads) {
        on_threads(threads, [&](int me) {
            for (int64_t c = me; c < channels; c += threads)
                for (int64_t o = 0; o < outputs; o += VL) {
                    V g[R * R], t[AA];
                    for (int k = 0; k < R * R; ++k) g[k] = load(w + (k * channels + c) * outputs + o);
                    both<M, R, FILTER, A, R>(g, t);
                    float* to = u + in_panels(outputs, channels, c, o);
                    for (int f = 0; f < AA; ++f) store(to + f * (channels * outputs + LINE), t[f]);
                }
        });
    }

    // dw: (R * R, channels, outputs) from x and the gradient g of the outputs. Threads share a round: each transforms some of its
    // pictures, then multiplies some of the matrices, whose sums are read and written once a round.
    template <class T>
    void weights(const T* x, const T* g, float* dw, float* work, int threads) const {
        const int64_t size = s.channels * s.outputs + LINE, panels = (s.outputs + NR - 1) / NR, units = AA * panels;
        float *const sum = work, *const v = sum + AA * size, *const d = v + AA * (chunk * tiles * (s.channels + LINE) + LINE);
        if (!s.pictures) std::fill(sum, sum + AA * size, 0.f);
        for (int64_t first = 0; first < s.pictures; first += chunk) {
            const int64_t n = std::min(chunk, s.pictures - first), rows = n * tiles;
            const int64_t in = rows * (s.channels + LINE) + LINE, out = rows * s.outputs + LINE;
            on_threads(threads, [&](int me) {
                for (int64_t k = me; k < n; k += threads)
                    expand(x + (first + k) * s.height * s.width * s.stride, g + (first + k) * oh * ow * s.ostride, k * tiles,
                           v, in, d, out, rows);
            });
            on_threads(threads, [&](int me) {
                for (int64_t unit = units * me / threads; unit < units * (me + 1) / threads; ++unit) {
                    const int64_t f = unit / panels, o = unit % panels * NR;
                    const bool whole = o + NR <= s.outputs;
                    const auto add = whole ? multiply_turned<2, true> : multiply_turned<1, true>;
                    const auto begin = whole ? multiply_turned<2, false> : multiply_turned<1, false>;
                    (first ? add : begin)(
                        s.channels, rows, v + f * in, s.channels + LINE, d + f * out + o * rows, sum + f * size + o, s.outputs);
                }
            });
        }
        on_threads(threads, [&](int me) {
            for (int64_t c = me; c < s.channels; c += threads)
                for (int64_t o = 0; o < s.outputs; o += VL) {
                    V t[AA], r[R * R];
                    for (int f = 0; f < AA; ++f) t[f] = load(sum + f * size + c * s.outputs + o);
                    both<M, R, FILTER_T, R, A>(t, r);
                    for (int k = 0; k < R * R; ++k) store(dw + (k * s.channels + c) * s.outputs + o, r[k]);
                }
        });
    }

    // The tiles of one picture, from row on: of x to v, row by row; of g to d, in panels of NR outputs.
    template <class T>
    void expand(const T* picture, const T* gradient, int64_t row, float* v, int64_t in, float* d, int64_t out, int64_t rows) const {
        for (int64_t i = 0; i < th; ++i)
            for (int64_t j = 0; j < tw; ++j, ++row) {
                for (int64_t c = 0; c < s.channels; c += VL) {
                    V t[AA];
                    gather(picture + c, i, j, t);
                    float* to = v + row * (s.channels + LINE) + c;
                    for (int f = 0; f < AA; ++f) store(to + f * in, t[f]);
                }
                const int64_t high = std::min<int64_t>(M, oh - i * M), wide = std::min<int64_t>(M, ow - j * M);
                for (int64_t o = 0; o < s.outputs; o += VL) {
                    V r[M * M] = {}, t[AA];
                    for (int64_t p = 0; p < high; ++p)
                        for (int64_t q = 0; q < wide; ++q)
                            r[p * M + q] = load(gradient + ((i * M + p) * ow + j * M + q) * s.ostride + o);
                    both<M, R, OUT_T, A, M>(r, t);
                    float* to = d + in_panels(s.outputs, rows, row, o);
                    for (int f = 0; f < AA; ++f) store(to + f * out, t[f]);
                }
            }
    }
};


}  // namespace

#define EACH(X) X(3, 3) X(4, 3) X(5, 3) X(7, 3) X(4, 5)  // outputs along a tile's side, filter's side

// 0, or 1 where a tile of m outputs and a filter of r are not among those above.
extern "C" {
int alexnet_line() { return LINE; }
int64_t alexnet_room(int m, int r, int64_t chunk, const Shape* s, int sums) {
#define X(M, R) if (m == M && r == R) return Winograd<M, R>(*s, chunk).room(sums);
    EACH(X)
#undef X
    return 0;
}
int alexnet_filters(int m, int r, const float* w, int64_t channels, int64_t outputs, float* u, int threads) {
#define X(M, R) if (m == M && r == R) return Winograd<M, R>::filters(w, channels, outputs, u, threads), 0;
    EACH(X)
#undef X
    return 1;
}
int alexnet_forward(int m, int r, int64_t chunk, const Shape* s, const void* x, const float* u, const float* bias,
                    void* y, float* work, int threads) {
    const auto run = [&](const auto& plan) {
        if (s->narrow) return plan.forward(static_cast<const Narrow*>(x), u, bias, static_cast<Narrow*>(y), work, threads);
        plan.forward(static_cast<const float*>(x), u, bias, static_cast<float*>(y), work, threads);
    };
#define X(M, R) if (m == M && r == R) return run(Winograd<M, R>(*s, chunk)), 0;
    EACH(X)
#undef X
    return 1;
}
int alexnet_weights(int m, int r, int64_t chunk, const Shape* s, const void* x, const void* g, float* dw,
                    float* work, int threads) {
    const auto run = [&](const auto& plan) {
        if (s->narrow) return plan.weights(static_cast<const Narrow*>(x), static_cast<const Narrow*>(g), dw, work, threads);
        plan.weights(static_cast<const float*>(x), static_cast<const float*>(g), dw, work, threads);
    };
#define X(M, R) if (m == M && r == R) return run(Winograd<M, R>(*s, chunk)), 0;
    EACH(X)
#undef X
    return 1;
}
}
