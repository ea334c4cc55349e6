// SPDX-License-Identifier: MIT
// In front of every kernel file: types, vector loads and row reductions.
//
// The device's profile arrives as definitions:
//   VW     floats per vector load: 1, 2, 4, 8 or 16
//   LANES  work-items that share one row. With 1 (CPU) a work-item owns a row and the reductions
//          below are nothing; with more (GPU) a work-group of LANES work-items owns a row.
//   CPU    1: the device is a processor
//
// A kernel over rows runs work-groups of LANES work-items and walks a row of n columns as
//   EACH_VECTOR(c, n) { ... VW columns from c on ... }
//   EACH_REST(c, n) { ... one column ... }

#ifndef VW
#define VW 4
#endif
#ifndef LANES
#define LANES 1
#endif
#ifndef CPU
#define CPU 0
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

// A tensor argument: base pointer and offset in elements. USE(x) makes the name point at the view.
#define TENSOR(type, name) __global type *name, const ulong name##_at
#define USE(name) name += name##_at
// A matrix argument: a tensor and its row stride; ROW(x, r) points at row r.
#define MATRIX(type, name) TENSOR(type, name), const int name##_stride
#define ROW(name, r) ((name) + name##_at + (size_t)(r) * name##_stride)
// The rows of this work-group. A launch may have fewer groups than rows.
#define EACH_ROW(r, rows)                                                                          \
    for (int r = (int)get_group_id(0); r < (rows); r += (int)get_num_groups(0))

// FETCH(p) brings the line at p into the second level's cache, to be read; FETCHES is 0 where it is
// nothing.
#if CPU && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define FETCHES 1
#define FETCH(p) __builtin_prefetch((const void *)(size_t)(p), 0, 2)
#endif
#endif
#ifndef FETCH
#define FETCHES 0
#define FETCH(p)
#endif

#if VW == 1
typedef float floatv;
typedef int intv;
typedef uint uintv;
#define LOADV(p) (*(p))
#define STOREV(v, p) (*(p) = (v))
#define SUMV(v) (v)
#define MAXV(v) (v)
#define ANYV(mask) (mask)
#define AS_FLOATV(v) as_float(v)
#define AS_INTV(v) as_int(v)
#define AS_UINTV(v) as_uint(v)
#define CONVERT_FLOATV(v) convert_float(v)
#else
typedef CAT(float, VW) floatv;
typedef CAT(int, VW) intv;
typedef CAT(uint, VW) uintv;
#define LOADV(p) CAT(vload, VW)(0, p)
#if CPU && defined(__clang__)
// LLVM cuts vstore into stores of four floats and does not join them again.
typedef floatv loosev __attribute__((aligned(4)));
#define OVERLOADED __attribute__((overloadable, always_inline))
static OVERLOADED void store_vector(floatv v, __global float *p) { *(__global loosev *)p = v; }
static OVERLOADED void store_vector(floatv v, __private float *p) { *(__private loosev *)p = v; }
#ifndef __local // a chain has no local memory
static OVERLOADED void store_vector(floatv v, __local float *p) { *(__local loosev *)p = v; }
#endif
#define STOREV(v, p) store_vector(v, p)
#else
#define STOREV(v, p) CAT(vstore, VW)(v, 0, p)
#endif
#define ANYV(mask) any(mask)
#define AS_FLOATV(v) CAT(as_float, VW)(v)
#define AS_INTV(v) CAT(as_int, VW)(v)
#define AS_UINTV(v) CAT(as_uint, VW)(v)
#define CONVERT_FLOATV(v) CAT(convert_float, VW)(v)
#endif

#if VW == 2
#define SUMV(v) ((v).x + (v).y)
#define MAXV(v) fmax((v).x, (v).y)
#elif VW > 2
inline float sum4(float4 v) { return (v.x + v.y) + (v.z + v.w); }
inline float max4(float4 v) { return fmax(fmax(v.x, v.y), fmax(v.z, v.w)); }
#if VW == 4
#define SUMV(v) sum4(v)
#define MAXV(v) max4(v)
#elif VW == 8
#define SUMV(v) sum4((v).lo + (v).hi)
#define MAXV(v) max4(fmax((v).lo, (v).hi))
#else
#define SUMV(v) sum4(((v).lo.lo + (v).lo.hi) + ((v).hi.lo + (v).hi.hi))
#define MAXV(v) max4(fmax(fmax((v).lo.lo, (v).lo.hi), fmax((v).hi.lo, (v).hi.hi)))
#endif
#endif

// The columns of a row that are this work-item's: whole vectors, then what is left.
#define EACH_VECTOR(c, n) for (int c = LANE * VW; c + VW <= (n); c += LANES * VW)
#define EACH_REST(c, n) for (int c = (n) / VW * VW + LANE; c < (n); c += LANES)

// Vectors of which only the first `left` columns may exist; the others are zero, and not written.
inline floatv load_part(__global const float *p, int left) {
    if (left >= VW) return LOADV(p);
    float part[VW];
    for (int i = 0; i < VW; i++) part[i] = i < left ? p[i] : 0.0f;
    return LOADV(part);
}
inline void store_part(floatv v, __global float *p, int left) {
    if (left >= VW) {
        STOREV(v, p);
        return;
    }
    float part[VW];
    STOREV(v, part);
    for (int i = 0; i < left; i++) p[i] = part[i];
}

// Activations are `act` in memory: float, or half with HALF 1 (vload_half and vstore_half are in every
// OpenCL C); arithmetic is in float. A kernel whose arguments differ names their types.
#ifndef HALF
#define HALF 0
#endif
#if HALF
#define act half
#else
#define act float
#endif
#define LOAD(type, p) CAT(LOAD_, type)(p)            // a vector
#define STORE(type, v, p) CAT(STORE_, type)(v, p)
#define GET(type, p, i) CAT(GET_, type)(p, i)        // element i
#define SET(type, v, p, i) CAT(SET_, type)(v, p, i)
#define LOAD_PART(type, p, left) CAT(load_part_, type)(p, left)
#define STORE_PART(type, v, p, left) CAT(store_part_, type)(v, p, left)
#define LOADA(p) LOAD(act, p)
#define STOREA(v, p) STORE(act, v, p)
#define GETA(p, i) GET(act, p, i)
#define SETA(v, p, i) SET(act, v, p, i)
#define LOAD_PARTA(p, left) LOAD_PART(act, p, left)
#define STORE_PARTA(v, p, left) STORE_PART(act, v, p, left)

#define LOAD_float(p) LOADV(p)
#define STORE_float(v, p) STOREV(v, p)
#define GET_float(p, i) ((p)[i])
#define SET_float(v, p, i) ((p)[i] = (v))
#define load_part_float(p, left) load_part(p, left)
#define store_part_float(v, p, left) store_part(v, p, left)
#if HALF
#if VW == 1
#define LOAD_half(p) vload_half(0, p)
#define STORE_half(v, p) vstore_half(v, 0, p)
#elif VW < 8
#define LOAD_half(p) CAT(vload_half, VW)(0, p)
#define STORE_half(v, p) CAT(vstore_half, VW)(v, 0, p)
#else
// PoCL 3.1 takes long vectors of half for aligned, so memory is read and written as integers. Eight at
// a time, because LLVM cuts longer ones into pieces.
inline float8 load_half8(__global const half *p) {
    const ushort8 bits = vload8(0, (__global const ushort *)p);
    return vload_half8(0, (const half *)&bits);
}
inline void store_half8(float8 v, __global half *p) {
    ushort8 bits;
    vstore_half8(v, 0, (half *)&bits);
    vstore8(bits, 0, (__global ushort *)p);
}
#if VW == 8
#define LOAD_half(p) load_half8(p)
#define STORE_half(v, p) store_half8(v, p)
#else
inline float16 load_half16(__global const half *p) {
    return (float16)(load_half8(p), load_half8(p + 8));
}
inline void store_half16(float16 v, __global half *p) {
    store_half8(v.lo, p);
    store_half8(v.hi, p + 8);
}
#define LOAD_half(p) load_half16(p)
#define STORE_half(v, p) store_half16(v, p)
#endif
#endif
#define GET_half(p, i) vload_half(i, p)
#define SET_half(v, p, i) vstore_half(v, i, p)
inline floatv load_part_half(__global const half *p, int left) {
    if (left >= VW) return LOAD_half(p);
    float part[VW];
    for (int i = 0; i < VW; i++) part[i] = i < left ? vload_half(i, p) : 0.0f;
    return LOADV(part);
}
inline void store_part_half(floatv v, __global half *p, int left) {
    if (left >= VW) {
        STORE_half(v, p);
        return;
    }
    float part[VW];
    STOREV(v, part);
    for (int i = 0; i < left; i++) vstore_half(part[i], i, p);
}
#endif

// In front of a loop over a private array, whose length is constant, so that it becomes registers.
#define UNROLL _Pragma("unroll")

#define LOWEST (-3.0e38f) // a finite minus infinity: some compilers assume finite maths

// e^x for x <= 0 within 1 ulp, 0 below -87 where e^x is subnormal; NaN stays. Several times as fast
// as exp() on a CPU: x = n ln 2 + r with n rounded by adding 1.5 * 2^23, which also leaves n in the
// low bits of t; e^r by the polynomial of Cephes' expf; 2^n by its exponent bits.
inline floatv exp_negative(floatv x) {
    floatv t = x * 1.44269504088896341f + 12582912.0f;
    floatv n = t - 12582912.0f;
    floatv r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    floatv p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    floatv y = p * AS_FLOATV((AS_INTV(t) + 127) << 23);
    return x < -87.0f ? (floatv)0.0f : y;
}

// The activations (clf_activation) of a scalar or vector x of type T; a NaN stays a NaN. A file that
// uses ACTIVATE defines ERF(x), TANH(x) and SWISH(x, k) = x / (1 + e^(-k x)).
#define ACT_NONE 0
#define ACT_RELU 1
#define ACT_GELU 2
#define ACT_GELU_TANH 3
#define ACT_GELU_SIGMOID 4
#define ACT_SILU 5
#ifndef ACT
#define ACT ACT_NONE
#endif

#define GELU_INNER(x) (0.79788456f * ((x) + 0.044715f * (x) * (x) * (x)))
#if ACT == ACT_NONE
#define ACTIVATE(T, x) (x)
#elif ACT == ACT_RELU
#define ACTIVATE(T, x) ((x) < (T)(0.0f) ? (T)(0.0f) : (x))
#elif ACT == ACT_GELU
#define ACTIVATE(T, x) (0.5f * (x) * (1.0f + ERF((x)*0.70710678f)))
#elif ACT == ACT_GELU_TANH
#define ACTIVATE(T, x) (0.5f * (x) * (1.0f + TANH(GELU_INNER(x))))
#else
#define SWISH_FACTOR (ACT == ACT_GELU_SIGMOID ? 1.702f : 1.0f)
#define ACTIVATE(T, x) SWISH(x, SWISH_FACTOR)
#endif

// Local memory of a kernel: LOCALS(float query[D]; int next[3];), at the outermost level of its body,
// makes `locals` point to such members. The kernels of a chain share POOL bytes of it
// (cl/chain_group.cl).
#ifdef POOL
#define LOCALS(members)                                                                            \
    typedef struct {                                                                               \
        members                                                                                    \
    } locals_t;                                                                                    \
    typedef char locals_fit[sizeof(locals_t) <= POOL ? 1 : -1];                                    \
    __local locals_t *const locals = (__local locals_t *)pool;
#else
#define LOCALS(members)                                                                            \
    typedef struct {                                                                               \
        members                                                                                    \
    } locals_t;                                                                                    \
    __local locals_t locals_all;                                                                   \
    __local locals_t *const locals = &locals_all;
#endif

#if LANES == 1
#define LANE 0
#define ROW_SCRATCH
#define row_sum(x) (x)
#define row_max(x) (x)
#else
#define LANE ((int)get_local_id(0))
// Declares the local memory that the reductions use; once, at the top of a kernel's body. A chain has
// it already.
#ifdef POOL
#define ROW_SCRATCH
#else
#define ROW_SCRATCH __local float row_scratch[LANES];
#endif
#define row_sum(x) row_sum_(x, row_scratch)
#define row_max(x) row_max_(x, row_scratch)

// Reductions over the LANES work-items by a tree of fours, so in a fixed order; every lane gets the
// result. All lanes of the work-group must call them.
#define PLUS(a, b) ((a) + (b))
#define REDUCE(x, combine, scratch)                                                                \
    const int lane = LANE;                                                                         \
    __local float *const own = scratch + lane;                                                     \
    *own = x;                                                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
    for (int n = LANES, part; n > 1; n = part) {                                                   \
        part = n >= 4 ? n / 4 : 1;                                                                 \
        if (lane < part && n >= 4)                                                                 \
            *own = combine(combine(own[0], own[part]), combine(own[2 * part], own[3 * part]));     \
        if (lane < part && n == 2) *own = combine(own[0], own[1]);                                 \
        barrier(CLK_LOCAL_MEM_FENCE);                                                              \
    }                                                                                              \
    const float result = scratch[0];                                                               \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
    return result;
inline float row_sum_(float x, __local float *scratch) { REDUCE(x, PLUS, scratch) }
inline float row_max_(float x, __local float *scratch) { REDUCE(x, fmax, scratch) }
#endif
