// SPDX-License-Identifier: MIT
// Matrix products by CLBlast, which compiles and keeps its kernels itself.
#include <clblast_c.h>
#include <stdio.h>

#include "base/fail.h"
#include "device/chain.h"

// CLBlast returns OpenCL's codes as they are and has codes of its own below -1000.
static clf_status fail_clblast(const clf_device *device, CLBlastStatusCode code,
                               const char *tried) {
    if (code > -1000) return clf_cl_fail(device, (cl_int)code, tried);
    return clf_fail(CLF_ERROR_DEVICE, "%s: cannot %s: CLBlast error %d", device->info.name, tried,
                    (int)code);
}

static bool is_matrix(clf_tensor t, int rows, int cols) {
    return t.chunk && t.dtype == CLF_F32 && t.rows == rows && t.cols == cols;
}

void clf_clblast_gemm(clf_run *run, clf_tensor y, clf_tensor x, clf_tensor w, float beta) {
    clf_device *device = run->device;
    if (run->status != CLF_OK || run->dry || y.rows == 0 || y.cols == 0) return;
    if (!is_matrix(x, y.rows, w.rows) || !is_matrix(w, x.cols, y.cols) ||
        !is_matrix(y, x.rows, w.cols)) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "float product (%d, %d) = (%d, %d) (%d, %d)",
                                   y.rows, y.cols, x.rows, x.cols, w.rows, w.cols));
        return;
    }
    if (x.cols == 0 && (beta == 0 || beta == 1)) { // which CLBlast does not take
        if (beta == 0) clf_fill_zero(run, y);
        return;
    }
    clf_chain_flush(device);
    // CLBlast may queue several kernels and returns the event of the last, so a marker tells when
    // the first may have begun.
    cl_event before = NULL, event = NULL;
    if (device->recorder) {
        clf_cl_check(run, clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &before),
                     "queue a marker");
    }
    CLBlastStatusCode code =
        CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, (size_t)y.rows,
                     (size_t)y.cols, (size_t)x.cols, 1.0f, x.chunk->memory, x.offset, x.stride,
                     w.chunk->memory, w.offset, w.stride, beta, y.chunk->memory, y.offset, y.stride,
                     &device->queue, device->recorder ? &event : NULL);
    if (code != CLBlastSuccess) {
        if (before) clReleaseEvent(before);
        clf_run_fail(run, fail_clblast(device, code, "multiply matrices"));
        return;
    }
    double m = y.rows, n = y.cols, k = x.cols;
    clf_cost cost = {.bytes = 4 * (m * k + k * n + m * n), .flops = 2 * m * n * k};
    if (event) {
        clf_recorder_add(device->recorder, CLF_TRACK_KERNELS, "clblast_sgemm", cost, before, event);
    }
}

clf_status clf_clblast_override(clf_device *device, const char *kernel, const char *const *names,
                                const size_t *values, int count) {
    // CLBlast asks for mutable pointers but only reads.
    CLBlastStatusCode code =
        CLBlastOverrideParameters(device->id, kernel, CLBlastPrecisionSingle, (size_t)count,
                                  (const char **)(uintptr_t)names, values);
    if (code == CLBlastSuccess) return CLF_OK;
    return fail_clblast(device, code, "set CLBlast's parameters");
}
