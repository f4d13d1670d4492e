// Response norm across channels in one pass each way, float32, channels last.
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
    std::vector<float> padded, sums, factor;
    int64_t before, after;
    explicit Scratch(const Window& n)
        : padded(n.width() + n.size, 0.f), sums(n.width()), factor(n.width()), before(n.size / 2), after(n.size - 1 - n.size / 2) {}
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

}  // namespace

extern "C" {
void alexnet_norm(const Window* n, const float* x, float* y, int threads) {
    std::vector<Scratch> scratch(threads, Scratch(*n));
    over_rows(*n, threads, [&](int t, int64_t row) {
        Scratch& s = scratch[t];
        for (int64_t tower = 0; tower < n->towers; ++tower) {
            const int64_t at = row * n->channels + tower * n->width();
            factors(*n, x + at, s);
            for (int64_t c = 0; c < n->width(); ++c) y[at + c] = x[at + c] * s.factor[c];
        }
    });
}

// dx = g d^-3/4 - 2 * 3/4 * scale * x * (sum over the mirrored window of g x d^-3/4 / d)
void alexnet_norm_back(const Window* n, const float* x, const float* g, float* dx, int threads) {
    std::vector<Scratch> scratch(threads, Scratch(*n)), mirrored(threads, Scratch(*n));
    over_rows(*n, threads, [&](int t, int64_t row) {
        Scratch &s = scratch[t], &m = mirrored[t];
        for (int64_t tower = 0; tower < n->towers; ++tower) {
            const int64_t at = row * n->channels + tower * n->width(), w = n->width();
            factors(*n, x + at, s);
            for (int64_t c = 0; c < w; ++c) m.padded[m.after + c] = g[at + c] * x[at + c] * s.factor[c] / s.sums[c];
            n->sum(m.padded.data(), m.sums.data());
            for (int64_t c = 0; c < w; ++c) dx[at + c] = g[at + c] * s.factor[c] - 1.5f * n->scale * x[at + c] * m.sums[c];
        }
    });
}
}
