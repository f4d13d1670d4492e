// What the kernels share: vectors of the processor's width, and threads.
#pragma once
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if !defined(_WIN32)
#include <dlfcn.h>
#endif

#if defined(__AVX512F__)
constexpr int VL = 16;
#elif defined(__AVX__)
constexpr int VL = 8;
#else
constexpr int VL = 4;
#endif
typedef float V __attribute__((vector_size(VL * 4), aligned(4), may_alias));

inline V load(const float* p) { return *reinterpret_cast<const V*>(p); }
inline void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }

// bf16: a float without its last 16 bits. Read and written as such, computed with as floats; to the nearest, ties to even.
struct Narrow {
    uint16_t bits;
};
typedef uint16_t Bits __attribute__((vector_size(VL * 2), aligned(2), may_alias));
typedef uint32_t WideBits __attribute__((vector_size(VL * 4)));

inline V load(const Narrow* p) {
    return V(__builtin_convertvector(*reinterpret_cast<const Bits*>(p), WideBits) << 16);
}
inline void store(Narrow* p, V v) {
#if defined(__AVX512BF16__)
    *reinterpret_cast<__m256i_u*>(p) = __m256i(_mm512_cvtneps_pbh(__m512(v)));
#else
    const WideBits whole = WideBits(v), rounded = whole + 0x7fff + (whole >> 16 & 1);
    const WideBits number = WideBits(v == v);  // all bits of a lane, or none where it is no number
    *reinterpret_cast<Bits*>(p) = __builtin_convertvector(((rounded & number) | (0x7fc00000 & ~number)) >> 16, Bits);
#endif
}

// One value: as those of a vector.
inline float widened(Narrow x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}
inline Narrow rounded(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return {uint16_t(x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fc0)};
}

// a b + c, rounded once where the processor can. Said so: left to it, GCC takes two roundings in some loops and one in others,
// and a sum would have other bits in a tile of another shape.
inline V fused(V a, V b, V c) {
#if defined(__AVX512F__)
    return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__FMA__) && defined(__AVX__)
    return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#elif defined(__aarch64__)
    return V(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
#else
    return a * b + c;
#endif
}
inline V every(float x) { return x - V{}; }  // to add zeros would be an instruction: it makes +0 of -0

// How a thread computes with floating point: torch.set_flush_denormal(True) is for the thread that calls it, and for no other.
struct FloatingPoint {
#if defined(__SSE__)
    unsigned state = _mm_getcsr();
    void set() const { _mm_setcsr(state); }
    void flush() const { _mm_setcsr(state | 0x8040); }
#else
    void set() const {}
    void flush() const {}
#endif
};
// Numbers below 1e-38 are 0, for a while.
struct FlushDenormals {
    const FloatingPoint before;
    FlushDenormals() { before.flush(); }
    ~FlushDenormals() { before.set(); }
};

// The functions of the OpenMP that torch has loaded, where it is GCC's. Its threads wait for work by turning round and round for
// some milliseconds, on the cores that threads of our own would need.
struct Team {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*number)() = nullptr;
    int (*size)() = nullptr;
#if !defined(_WIN32)
    Team() {
        parallel = reinterpret_cast<decltype(parallel)>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
        number = reinterpret_cast<decltype(number)>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
        size = reinterpret_cast<decltype(size)>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
    }
#endif
    bool there() const { return parallel && number && size; }
};

// work(0) to work(threads - 1), each once, in as many threads as there are to be had.
template <class F>
void on_threads(int threads, F&& work) {
    static const Team team;
    if (threads <= 1) return work(0);
    if (!team.there()) {
        std::vector<std::thread> others;
        for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
        work(0);
        for (auto& other : others) other.join();
        return;
    }
    struct Job {
        F& work;
        int threads;
        FloatingPoint as;  // the caller's: threads of OpenMP have their own
    } job{work, threads, {}};
    team.parallel(
        [](void* of) {
            const Job& job = *static_cast<Job*>(of);
            const FloatingPoint own;
            job.as.set();
            for (int t = team.number(); t < job.threads; t += team.size()) job.work(t);
            own.set();
        },
        &job, unsigned(threads), 0);
}
