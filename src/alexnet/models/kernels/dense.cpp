// Dense layers for small batches, float32: their weights are what takes the time, not the pictures.
//
// A layer of 4,096 x 9,216 weights is 151 MB. Forward, torch lays the weights out anew for every batch; backward it writes a
// gradient as large as the weights, which the update rule reads again. Here the weights are read where they lie, and the rule is
// applied to a few hundred bytes of a row at a time, whose gradient never leaves the processor: the sum over the pictures of
// (gradient of the output) x (input), in which pictures whose output's gradient is zero, behind ReLU and dropout most of
// them, take no part. A row without any, whose memory has come down to zero, is not touched.
//
// A layer behind a ReLU reads mostly zeros. Its weights lie column by column, wt (inputs x outputs): a picture's outputs are the sum
// of the few columns whose inputs are not zero, and the rule meets columns as it meets rows elsewhere, x and g exchanged.
//
// Every sum has one order, whatever the number of threads, the size of the batch and the place of a picture in it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "lanes.h"

namespace {

struct Dense {
    int64_t pictures, inputs, outputs;  // of a batch; inputs: a multiple of VL
};

constexpr int64_t PIECE = 1024;  // inputs that a sum of parts has in one go: of 64 pictures, they stay in the cache
constexpr int64_t SHORT = 512;   // inputs that a product has in one go
constexpr int64_t DEEP = 64;     // rows that a product has in one go where it sums over them
constexpr size_t FEW_PARTS = 8;  // parts a row, on average, with which an update does without pieces

// The numbers [first, last) of `count` that thread `me` of several has.
struct Share {
    int64_t first, last;
    Share(int64_t count, int me, int threads, int64_t step = 1) {
        const int64_t steps = (count + step - 1) / step, each = (steps + threads - 1) / threads * step;
        first = std::min(count, me * each), last = std::min(count, first + each);
    }
};

#if defined(__clang__) || __GNUC__ >= 12
template <int HALF, int... I>
inline V added(V v, std::integer_sequence<int, I...>) { return v + __builtin_shufflevector(v, v, (I ^ HALF)...); }
inline float sum(V v) {
    using All = std::make_integer_sequence<int, VL>;
    if constexpr (VL >= 16) v = added<8>(v, All{});
    if constexpr (VL >= 8) v = added<4>(v, All{});
    return added<1>(added<2>(v, All{}), All{})[0];
}
#else
inline float sum(V v) {
    float part[VL];
    store(part, v);
    for (int half = VL / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    return part[0];
}
#endif

// a . b
inline float dot(int64_t count, const float* a, const float* b) {
    V s = {};
    for (int64_t k = 0; k < count; k += VL) s = fused(load(a + k), load(b + k), s);
    return sum(s);
}

constexpr int ROWS = VL == 16 ? 12 : 6, SIDES = VL == 4 ? 1 : 2;  // sums that the registers hold: rows, vectors of columns
constexpr int64_t PANEL = SIDES * VL;

// y[r][c] += the sum over k of a[r][k] b[k][c], for R rows and S vectors of columns
template <int R, int S>
inline void products(int64_t count, const float* const* a, const float* b, int64_t stride, float* const* y) {
    V s[R][S] = {};
    for (int64_t k = 0; k < count; ++k) {
        V one[S];
#pragma GCC unroll 2
        for (int i = 0; i < S; ++i) one[i] = load(b + k * stride + i * VL);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const V times = every(a[r][k]);
#pragma GCC unroll 2
            for (int i = 0; i < S; ++i) s[r][i] = fused(times, one[i], s[r][i]);
        }
    }
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < S; ++i) store(y[r] + i * VL, load(y[r] + i * VL) + s[r][i]);
}

// The same for up to ROWS rows and up to PANEL columns.
template <int R = ROWS>
inline void tile(int rows, int64_t width, int64_t count, const float* const* a, const float* b, int64_t stride, float* const* y) {
    if constexpr (R > 1) {
        if (rows < R) return tile<R - 1>(rows, width, count, a, b, stride, y);
    }
    if (width == PANEL) return products<R, SIDES>(count, a, b, stride, y);
    if constexpr (SIDES > 1) products<R, 1>(count, a, b, stride, y);
}

// `width` columns of `rows` rows, PANEL of them together: what a product reads, one thing after another.
inline void pack(int64_t rows, const float* from, int64_t stride, int64_t width, float* to) {
    for (int64_t c = 0; c < width; c += PANEL) {
        const int64_t here = std::min(PANEL, width - c);
        for (int64_t r = 0; r < rows; ++r, to += PANEL)
            for (int64_t i = 0; i < here; i += VL) store(to + i, load(from + r * stride + c + i));
    }
}

// A picture's part in the gradient of a row: how much, and its input.
struct Part {
    float times;
    const float* x;
};

// c += the parts' times x their inputs from `at` on, for LANES vectors
template <int LANES>
inline void combine(const Part* parts, int64_t count, int64_t at, float* c) {
    V s[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; ++i) s[i] = load(c + i * VL);
    for (int64_t n = 0; n < count; ++n) {
        const float* x = parts[n].x + at;
        const V times = every(parts[n].times);
#pragma GCC unroll 8
        for (int i = 0; i < LANES; ++i) s[i] = fused(times, load(x + i * VL), s[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES; ++i) store(c + i * VL, s[i]);
}
void combine(const Part* parts, int64_t count, int64_t at, int64_t width, float* c) {
    int64_t k = 0;
    for (; k + 8 * VL <= width; k += 8 * VL) combine<8>(parts, count, at + k, c + k);
    for (; k < width; k += VL) combine<1>(parts, count, at + k, c + k);
}

// Update rules, over `count` weights that lie side by side; each returns whether its memory is anything but zero.
struct Numbers {
    float lr, decay, momentum, beta1, rest1, beta2, rest2, eps, root;  // rest: 1 - beta; root: of 1 - beta2^t
    int nesterov;
};
inline uint32_t bits(float x) {
    uint32_t found;
    __builtin_memcpy(&found, &x, 4);
    return found << 1;  // -0 is zero
}

struct Adam {  // torch's; lr is divided by 1 - beta1^t already. Kingma and Ba, 2015
    static constexpr bool SQUARES = true;
    static bool move(const Numbers& n, int64_t count, const float* __restrict g, float* __restrict w, float* __restrict m, float* __restrict v) {
        uint32_t any = 0;
        for (int64_t i = 0; i < count; ++i) {
            const float slope = g[i] + n.decay * w[i];
            m[i] = n.beta1 * m[i] + n.rest1 * slope;
            v[i] = n.beta2 * v[i] + n.rest2 * slope * slope;
            w[i] -= n.lr * m[i] / (std::sqrt(v[i]) / n.root + n.eps);
            any |= bits(m[i]);
        }
        return any;
    }
};
struct Momentum {  // torch's SGD
    static constexpr bool SQUARES = false;
    static bool move(const Numbers& n, int64_t count, const float* __restrict g, float* __restrict w, float* __restrict m, float*) {
        uint32_t any = 0;
        for (int64_t i = 0; i < count; ++i) {
            const float slope = g[i] + n.decay * w[i];
            m[i] = n.momentum * m[i] + slope;
            w[i] -= n.lr * (n.nesterov ? slope + n.momentum * m[i] : m[i]);
            any |= bits(m[i]);
        }
        return any;
    }
};
struct Velocity {  // Keras's SGD and that of 2012: the rate is inside
    static constexpr bool SQUARES = false;
    static bool move(const Numbers& n, int64_t count, const float* __restrict g, float* __restrict w, float* __restrict m, float*) {
        uint32_t any = 0;
        for (int64_t i = 0; i < count; ++i) {
            const float step = -n.lr * (g[i] + n.decay * w[i]);
            m[i] = n.momentum * m[i] + step;
            w[i] += n.nesterov ? n.momentum * m[i] + step : m[i];
            any |= bits(m[i]);
        }
        return any;
    }
};

// A row's squares decay by beta2 in every step. Of a row that was left alone they owe some: one multiplication each, as they
// would have been, so that the bits are the same.
template <int LANES>
inline bool pay(float beta2, int32_t owed, float* v) {
    V s[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; ++i) s[i] = load(v + i * VL);
    for (int32_t n = 0; n < owed; ++n)
#pragma GCC unroll 8
        for (int i = 0; i < LANES; ++i) s[i] *= beta2;
    float left = 0;
    for (int i = 0; i < LANES; ++i) {
        store(v + i * VL, s[i]);
        left += sum(s[i]);
    }
    return left > 0;
}
void pay(float beta2, int32_t owed, int64_t count, float* v) {
    constexpr int32_t MANY = 8192;  // decays after which it is worth a look whether anything is left
    int64_t k = 0;
    for (; k + 8 * VL <= count; k += 8 * VL)
        for (int32_t n = owed; n > 0 && pay<8>(beta2, std::min(n, MANY), v + k); n -= MANY) {}
    for (; k < count; k += VL)
        for (int32_t n = owed; n > 0 && pay<1>(beta2, std::min(n, MANY), v + k); n -= MANY) {}
}

struct Memory {
    float *first, *squares;  // of the rule, as large as the weights; no squares but Adam's
    uint8_t* rests;          // a row whose first memory is zero
    int32_t* owed;           // a row's decays of its squares yet to be made
};

template <class Rule>
void update(const Dense& d, const Numbers& n, const float* x, const float* g, float* w, const Memory& memory, int threads) {
    const bool may_rest = n.decay == 0 && n.eps > 0;
    on_threads(threads, [&](int me) {
        const FlushDenormals flush;
        const Share rows(d.outputs, me, threads);
        std::vector<Part> parts;
        struct Row {
            int64_t row, first, last;
            bool any;
        };
        std::vector<Row> moved;
        for (int64_t r = rows.first; r < rows.last; ++r) {
            const int64_t first = parts.size();
            for (int64_t p = 0; p < d.pictures; ++p)
                if (const float times = g[p * d.outputs + r]; times != 0) parts.push_back({times, x + p * d.inputs});
            const int64_t last = parts.size();
            if (first == last && memory.rests[r] && may_rest)
                memory.owed[r] += Rule::SQUARES;
            else
                moved.push_back({r, first, last, false});
        }
        // Of few parts, a row in one go, as memory likes it; of many, in pieces, so that the pictures stay in the cache.
        const int64_t width = std::min(d.inputs, parts.size() <= FEW_PARTS * moved.size() ? d.inputs : PIECE);
        std::vector<float> gradient(width);
        for (int64_t k = 0; k < d.inputs; k += width) {
            const int64_t here = std::min(width, d.inputs - k);
            for (Row& row : moved) {
                const int64_t at = row.row * d.inputs + k;
                float* const squares = Rule::SQUARES ? memory.squares + at : nullptr;
                if (Rule::SQUARES && memory.owed[row.row]) pay(n.beta2, memory.owed[row.row], here, squares);
                std::fill(gradient.begin(), gradient.begin() + here, 0.f);
                combine(parts.data() + row.first, row.last - row.first, k, here, gradient.data());
                row.any |= Rule::move(n, here, gradient.data(), w + at, memory.first + at, squares);
            }
        }
        for (const Row& row : moved) memory.rests[row.row] = !row.any, memory.owed[row.row] = 0;
    });
}

}  // namespace

extern "C" {
int alexnet_lanes() { return VL; }

// y (pictures x outputs) = x w' + bias, for `count` of the rows of w, in ascending order; of all others y is zero
void alexnet_dense(const Dense* d, const float* x, const float* w, const float* bias, const int32_t* rows, int64_t count, float* y, int threads) {
    const int64_t width = (d->pictures + VL - 1) / VL * VL;
    std::fill(y, y + d->pictures * d->outputs, 0.f);
    on_threads(threads, [&](int me) {
        const Share mine(count, me, threads, ROWS);
        std::vector<float> turned(SHORT * width), sums((mine.last - mine.first) * width);
        for (int64_t i = mine.first; bias && i < mine.last; ++i) std::fill_n(&sums[(i - mine.first) * width], width, bias[rows[i]]);
        for (int64_t k = 0; k < d->inputs; k += SHORT) {
            const int64_t here = std::min(SHORT, d->inputs - k);
            for (int64_t p = 0; p < d->pictures; ++p)
                for (int64_t i = 0; i < here; ++i) turned[i * width + p] = x[p * d->inputs + k + i];
            for (int64_t i = mine.first; i < mine.last; i += ROWS) {
                const int together = int(std::min<int64_t>(ROWS, mine.last - i));
                const float* from[ROWS];
                float* to[ROWS];
                for (int r = 0; r < together; ++r) from[r] = w + rows[i + r] * d->inputs + k;
                for (int64_t c = 0; c < width; c += PANEL) {
                    for (int r = 0; r < together; ++r) to[r] = &sums[(i - mine.first + r) * width + c];
                    tile(together, std::min(PANEL, width - c), here, from, &turned[c], width, to);
                }
            }
        }
        for (int64_t p = 0; p < d->pictures; ++p)
            for (int64_t i = mine.first; i < mine.last; ++i) y[p * d->outputs + rows[i]] = sums[(i - mine.first) * width + p];
    });
}

// dx (pictures x inputs) = g w
void alexnet_dense_back(const Dense* d, const float* g, const float* w, float* dx, int threads) {
    constexpr int64_t WIDTH = 512, TOGETHER = 8;  // of weights: they stay in the nearest cache
    struct Some {
        int64_t picture, first, last;  // its parts, of rows that lie together
    };
    std::vector<Part> parts;
    std::vector<Some> found;
    for (int64_t r = 0; r < d->outputs; r += TOGETHER)
        for (int64_t p = 0; p < d->pictures; ++p) {
            const int64_t first = parts.size();
            for (int64_t i = r; i < std::min(r + TOGETHER, d->outputs); ++i)
                if (const float times = g[p * d->outputs + i]; times != 0) parts.push_back({times, w + i * d->inputs});
            if (const int64_t last = parts.size(); last > first) found.push_back({p, first, last});
        }
    on_threads(threads, [&](int me) {
        const Share mine(d->inputs, me, threads, VL);
        for (int64_t k = mine.first; k < mine.last; k += WIDTH) {
            const int64_t here = std::min(WIDTH, mine.last - k);
            for (int64_t p = 0; p < d->pictures; ++p) std::fill_n(dx + p * d->inputs + k, here, 0.f);
            for (const Some& some : found)
                combine(parts.data() + some.first, some.last - some.first, k, here, dx + some.picture * d->inputs + k);
        }
    });
}

// y (pictures x inputs) = g w + bias, where zeros are not worth looking for
void alexnet_dense_across(const Dense* d, const float* g, const float* w, const float* bias, float* y, int threads) {
    on_threads(threads, [&](int me) {
        const Share mine(d->inputs, me, threads, VL);
        std::vector<float> packed(DEEP * SHORT);
        for (int64_t k = mine.first; k < mine.last; k += SHORT) {
            const int64_t here = std::min(SHORT, mine.last - k);
            for (int64_t p = 0; p < d->pictures; ++p) {
                float* const to = y + p * d->inputs + k;
                if (bias)
                    std::copy_n(bias + k, here, to);
                else
                    std::fill_n(to, here, 0.f);
            }
            for (int64_t r = 0; r < d->outputs; r += DEEP) {
                const int64_t deep = std::min(DEEP, d->outputs - r);
                pack(deep, w + r * d->inputs + k, d->inputs, here, packed.data());
                for (int64_t p = 0; p < d->pictures; p += ROWS) {
                    const int together = int(std::min<int64_t>(ROWS, d->pictures - p));
                    const float* from[ROWS];
                    float* to[ROWS];
                    for (int i = 0; i < together; ++i) from[i] = g + (p + i) * d->outputs + r;
                    for (int64_t c = 0; c < here; c += PANEL) {
                        for (int i = 0; i < together; ++i) to[i] = y + (p + i) * d->inputs + k + c;
                        tile(together, std::min(PANEL, here - c), deep, from, &packed[c * deep], PANEL, to);
                    }
                }
            }
        }
    });
}

// y (pictures x outputs) = a wt + bias
void alexnet_dense_gather(const Dense* d, const float* a, const float* wt, const float* bias, float* y, int threads) {
    on_threads(threads, [&](int me) {
        const Share mine(d->pictures, me, threads);
        std::vector<Part> parts;
        for (int64_t p = mine.first; p < mine.last; ++p) {
            parts.clear();
            for (int64_t i = 0; i < d->inputs; ++i)
                if (const float times = a[p * d->inputs + i]; times != 0) parts.push_back({times, wt + i * d->outputs});
            float* const to = y + p * d->outputs;
            if (bias)
                std::copy(bias, bias + d->outputs, to);
            else
                std::fill(to, to + d->outputs, 0.f);
            combine(parts.data(), parts.size(), 0, d->outputs, to);
        }
    });
}

// da (pictures x inputs) = g wt' where a is not zero; elsewhere zero, which is what a ReLU makes of it
void alexnet_dense_taps(const Dense* d, const float* a, const float* g, const float* wt, float* da, int threads) {
    on_threads(threads, [&](int me) {
        const Share mine(d->pictures, me, threads);
        for (int64_t p = mine.first; p < mine.last; ++p)
            for (int64_t i = 0; i < d->inputs; ++i) {
                const int64_t at = p * d->inputs + i;
                da[at] = a[at] != 0 ? dot(d->outputs, g + p * d->outputs, wt + i * d->outputs) : 0;
            }
    });
}

// w moves by a rule (0 Adam, 1 torch's SGD, 2 Keras's and that of 2012) whose gradient is g' x
void alexnet_dense_update(int rule, const Dense* d, const Numbers* n, const float* x, const float* g, float* w, float* first,
                          float* squares, uint8_t* rests, int32_t* owed, int threads) {
    const Memory memory{first, squares, rests, owed};
    if (rule == 0) update<Adam>(*d, *n, x, g, w, memory, threads);
    if (rule == 1) update<Momentum>(*d, *n, x, g, w, memory, threads);
    if (rule == 2) update<Velocity>(*d, *n, x, g, w, memory, threads);
}

// The same for a gradient that is there as a whole: `count` values that lie as the weights do.
void alexnet_dense_move(int rule, const Numbers* n, int64_t count, const float* g, float* w, float* first, float* squares, int threads) {
    on_threads(threads, [&](int me) {
        const FlushDenormals flush;
        const Share mine(count, me, threads, VL);
        const int64_t at = mine.first, many = mine.last - mine.first;
        if (rule == 0) Adam::move(*n, many, g + at, w + at, first + at, squares + at);
        if (rule == 1) Momentum::move(*n, many, g + at, w + at, first + at, nullptr);
        if (rule == 2) Velocity::move(*n, many, g + at, w + at, first + at, nullptr);
    });
}

// Make the decays that rows owe.
void alexnet_dense_settle(const Dense* d, float beta2, float* squares, int32_t* owed, int threads) {
    on_threads(threads, [&](int me) {
        const FlushDenormals flush;
        const Share mine(d->outputs, me, threads);
        for (int64_t r = mine.first; r < mine.last; ++r)
            if (owed[r]) pay(beta2, owed[r], d->inputs, squares + r * d->inputs), owed[r] = 0;
    });
}
}
