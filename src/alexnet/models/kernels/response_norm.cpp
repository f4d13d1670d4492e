// Response norm across channels in one pass each way, channels last; maps of bf16 are computed with as floats.
//
// Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.3, with exponent 3/4:
// y = x * d^-3/4, d = k + scale * (sum of x^2 over the channels around), tower by tower.
#include <algorithm>
#include <cmath>

#include "lanes.h"

namespace {

struct Window {
    int64_t rows, channels, towers, size;  // rows: positions of all maps
    float scale, k;                        // scale: alpha / size
    int narrow;                            // 1: maps are bf16 ones

    int64_t width() const { return channels / towers; }

    // sums[c] = the sum of `padded` over the window around channel c; `padded` starts `before` to its left
    void sum(const float* padded, float* sums) const {
        const int64_t w = width();
        for (int64_t c = 0; c < w; ++c) sums[c] = padded[c];
        for (int64_t s = 1; s < size; ++s)
            for (int64_t c = 0; c < w; ++c) sums[c] += padded[c + s];
    }
};

// What one thread needs for a tower of one position; the borders of the padded rows stay zero.
struct Scratch {
    std::vector<float> padded, sums, factor, wide, result;
    int64_t before, after;
    explicit Scratch(const Window& n)
        : padded(n.width() + n.size, 0.f), sums(n.width()), factor(n.width()), wide(n.width()), result(n.width()),
          before(n.size / 2), after(n.size - 1 - n.size / 2) {}

    // A tower of one position as floats: where it lies, or in here.
    const float* floats(const float* x, int64_t) { return x; }
    const float* floats(const Narrow* x, int64_t w) {
        int64_t c = 0;
        for (; c + VL <= w; c += VL) store(wide.data() + c, load(x + c));
        for (; c < w; ++c) wide[c] = widened(x[c]);
        return wide.data();
    }
    // Where results go, and how they come from there to where they belong.
    float* room(float* y) { return y; }
    float* room(Narrow*) { return result.data(); }
    void put(float*, int64_t) const {}
    void put(Narrow* y, int64_t w) const {
        int64_t c = 0;
        for (; c + VL <= w; c += VL) store(y + c, load(result.data() + c));
        for (; c < w; ++c) y[c] = rounded(result[c]);
    }
};

// d^-3/4 by two square roots, a division, and no power
void factors(const Window& n, const float* x, Scratch& s) {
    const int64_t w = n.width();
    for (int64_t c = 0; c < w; ++c) s.padded[s.before + c] = x[c] * x[c];
    n.sum(s.padded.data(), s.sums.data());
    for (int64_t c = 0; c < w; ++c) {
        const float d = n.k + n.scale * s.sums[c], root = std::sqrt(d);
        s.sums[c] = d;
        s.factor[c] = 1.f / (root * std::sqrt(root));
    }
}

template <class F>
void over_rows(const Window& n, int threads, F&& work) {
    on_threads(threads, [&](int t) {
        const int64_t each = (n.rows + threads - 1) / threads;
        for (int64_t r = t * each; r < std::min(n.rows, (t + 1) * each); ++r) work(t, r);
    });
}

template <class T>
void forward(const Window& n, const T* x, T* y, int threads) {
    std::vector<Scratch> scratch(threads, Scratch(n));
    over_rows(n, threads, [&](int t, int64_t row) {
        Scratch& s = scratch[t];
        const int64_t w = n.width();
        for (int64_t tower = 0; tower < n.towers; ++tower) {
            const int64_t at = row * n.channels + tower * w;
            const float* in = s.floats(x + at, w);
            factors(n, in, s);
            float* out = s.room(y + at);
            for (int64_t c = 0; c < w; ++c) out[c] = in[c] * s.factor[c];
            s.put(y + at, w);
        }
    });
}

// dx = g d^-3/4 - 2 * 3/4 * scale * x * (sum over the mirrored window of g x d^-3/4 / d)
template <class T>
void backward(const Window& n, const T* x, const T* g, T* dx, int threads) {
    std::vector<Scratch> scratch(threads, Scratch(n)), mirrored(threads, Scratch(n));
    over_rows(n, threads, [&](int t, int64_t row) {
        Scratch &s = scratch[t], &m = mirrored[t];
        const int64_t w = n.width();
        for (int64_t tower = 0; tower < n.towers; ++tower) {
            const int64_t at = row * n.channels + tower * w;
            const float *in = s.floats(x + at, w), *of = m.floats(g + at, w);
            factors(n, in, s);
            for (int64_t c = 0; c < w; ++c) m.padded[m.after + c] = of[c] * in[c] * s.factor[c] / s.sums[c];
            n.sum(m.padded.data(), m.sums.data());
            float* out = s.room(dx + at);
            for (int64_t c = 0; c < w; ++c) out[c] = of[c] * s.factor[c] - 1.5f * n.scale * in[c] * m.sums[c];
            s.put(dx + at, w);
        }
    });
}

}  // namespace

extern "C" {
void alexnet_norm(const Window* n, const void* x, void* y, int threads) {
    if (n->narrow) return forward(*n, static_cast<const Narrow*>(x), static_cast<Narrow*>(y), threads);
    forward(*n, static_cast<const float*>(x), static_cast<float*>(y), threads);
}

void alexnet_norm_back(const Window* n, const void* x, const void* g, void* dx, int threads) {
    if (n->narrow)
        return backward(*n, static_cast<const Narrow*>(x), static_cast<const Narrow*>(g), static_cast<Narrow*>(dx), threads);
    backward(*n, static_cast<const float*>(x), static_cast<const float*>(g), static_cast<float*>(dx), threads);
}
}
