// SPDX-License-Identifier: MIT
// Included where weight_gradient is: its arguments are in cl/linear_backward.cl.

// What a group of slice s > 0 adds to: its part, laid out as dw.
#define CHOOSE_PART(slice)                                                                         \
    if ((slice) > 0) {                                                                             \
        dw = parts + (ulong)((slice)-1) * part_size;                                               \
        if (db) db = dw + weight_size;                                                             \
    }
