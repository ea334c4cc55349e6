// SPDX-License-Identifier: MIT
// y = softmax(x) or log_softmax(x) over rows of V columns, possibly in place.
//   LOG  1: log_softmax, 0: softmax
// A row of nothing but minus infinity gives zeros (softmax) or minus infinity (log_softmax).

__kernel void softmax(MATRIX(float, y), MATRIX(const float, x), const int rows, const int V) {
    ROW_SCRATCH
    EACH_ROW(row, rows) {
        __global float *to = ROW(y, row);
        __global const float *from = ROW(x, row);

        // Not minus infinity: the difference of two infinities is not a number.
        floatv largest = -FLT_MAX;
        EACH_VECTOR(c, V) largest = fmax(largest, LOADV(from + c));
        float top = MAXV(largest);
        EACH_REST(c, V) top = fmax(top, from[c]);
        top = row_max(top);

        floatv sums = 0.0f;
        float rest = 0.0f;
#if LOG
        EACH_VECTOR(c, V) sums += exp_negative(LOADV(from + c) - top);
        EACH_REST(c, V) rest += exp(from[c] - top);
        float log_sum = log(row_sum(SUMV(sums) + rest));
        if (log_sum == -INFINITY) log_sum = 0.0f;
        EACH_VECTOR(c, V) STOREV((LOADV(from + c) - top) - log_sum, to + c);
        EACH_REST(c, V) to[c] = (from[c] - top) - log_sum;
#else
        EACH_VECTOR(c, V) {
            floatv e = exp_negative(LOADV(from + c) - top);
            STOREV(e, to + c);
            sums += e;
        }
        EACH_REST(c, V) {
            to[c] = exp(from[c] - top);
            rest += to[c];
        }
        float sum = row_sum(SUMV(sums) + rest);
        float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
        EACH_VECTOR(c, V) STOREV(LOADV(to + c) * inverse, to + c);
        EACH_REST(c, V) to[c] *= inverse;
#endif
    }
}
