// SPDX-License-Identifier: MIT
// The optimizer's operations on long vectors of n floats; see ops/backward.h. A work-group owns
// `span` elements, a multiple of 16, from span * its number on.
//   AVERAGE  1: adam keeps an average of the parameters

#ifndef AVERAGE
#define AVERAGE 0
#endif

#define SPAN_BEGIN min((ulong)get_group_id(0) * span, n)
#define SPAN_END min((ulong)get_group_id(0) * span + span, n)

// This lane's elements of [begin, end): whole vectors, then what is left.
#define SPAN_VECTOR(i, begin, end)                                                                 \
    for (ulong i = (begin) + LANE * VW; i + VW <= (end); i += LANES * VW)
#define SPAN_REST(i, begin, end)                                                                   \
    for (ulong i = (begin) + ((end) - (begin)) / VW * VW + LANE; i < (end); i += LANES)

#define LOAD1(p) (*(p))
#define STORE1(v, p) (*(p) = (v))

#if AVERAGE
#define UPDATE_AVERAGE(type, load, store, i, new)                                                  \
    type a_ = load(average + i);                                                                   \
    store(a_ + average_rate * (new - a_), average + i);
#else
#define UPDATE_AVERAGE(type, load, store, i, new)
#endif

// `step` is the rate / correction1, `unbias` 1 / correction2, `shrink` the rate * decay.
#define UPDATE(type, load, store, i)                                                               \
    {                                                                                              \
        type g_ = load(gradient + i) * scale;                                                      \
        store((type)(0.0f), gradient + i);                                                         \
        type m_ = beta1 * load(m + i) + (1.0f - beta1) * g_;                                       \
        type v_ = beta2 * load(v + i) + (1.0f - beta2) * (g_ * g_);                                \
        store(m_, m + i);                                                                          \
        store(v_, v + i);                                                                          \
        type p_ = load(p + i);                                                                     \
        p_ -= step * m_ / (sqrt(v_ * unbias) + epsilon) + shrink * p_;                             \
        store(p_, p + i);                                                                          \
        UPDATE_AVERAGE(type, load, store, i, p_)                                                   \
    }

__kernel void adam(TENSOR(float, p), TENSOR(float, gradient), TENSOR(float, m),
                   TENSOR(float, v), TENSOR(float, average), const ulong n, const ulong span,
                   const float scale, const float beta1, const float beta2, const float step,
                   const float unbias, const float epsilon, const float shrink,
                   const float average_rate) {
    USE(p);
    USE(gradient);
    USE(m);
    USE(v);
    USE(average);
    const ulong begin = SPAN_BEGIN, end = SPAN_END;
    SPAN_VECTOR(i, begin, end) UPDATE(floatv, LOADV, STOREV, i)
    SPAN_REST(i, begin, end) UPDATE(float, LOAD1, STORE1, i)
}

#define BLOCK (64 * VW * LANES) // elements summed before they go to the total, for accuracy

// partial[group] = the sum of the squares of the group's elements.
__kernel void square_sums(TENSOR(float, partial), TENSOR(const float, x), const ulong n,
                          const ulong span) {
    ROW_SCRATCH
    USE(partial);
    USE(x);
    const ulong begin = SPAN_BEGIN, end = SPAN_END;
    floatv total = 0.0f;
    for (ulong first = begin; first < end; first += BLOCK) {
        floatv block = 0.0f;
        SPAN_VECTOR(i, first, min(first + BLOCK, end)) {
            floatv value = LOADV(x + i);
            block += value * value;
        }
        total += block;
    }
    float rest = 0.0f;
    SPAN_REST(i, begin, end) rest += x[i] * x[i];
    float all = row_sum(SUMV(total) + rest);
    if (LANE == 0) partial[get_group_id(0)] = all;
}

__kernel void blend(TENSOR(float, y), TENSOR(const float, x), const ulong n, const ulong span,
                    const float a, const float b) {
    USE(y);
    USE(x);
    const ulong begin = SPAN_BEGIN, end = SPAN_END;
    SPAN_VECTOR(i, begin, end) STOREV(a * LOADV(x + i) + b * LOADV(y + i), y + i);
    SPAN_REST(i, begin, end) y[i] = a * x[i] + b * y[i];
}
