// SPDX-License-Identifier: MIT
// What attention and its gradient share: checks, tiles, arguments.
#ifndef CLF_OPS_ATTENTION_H
#define CLF_OPS_ATTENTION_H

#include "ops/ops.h"
#include "ops/shape.h"

// Checks y (R, C) and all of `a`.
bool clf_attention_fits(clf_run *run, const char *op, clf_tensor y, clf_attention a);

// How a block of rows of one side (queries) and a tile of rows of the other (keys) are shared out.
typedef struct clf_tiling {
    int vector, queries, keys, split;
} clf_tiling;

// For cl/attention_tile.cl, or with `gradient` its attention_backward.
clf_tiling clf_tile_for_cpu(const clf_device *device, int head_width, bool gradient);
// The same for cl/attention_group.cl.
clf_tiling clf_tile_for_gpu(const clf_profile *profile, int max_group, int head_width,
                            bool gradient);

// The widest vectors of this device that fill a head.
int clf_head_vector(const clf_profile *profile, int head_width);

#endif
