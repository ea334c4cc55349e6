// SPDX-License-Identifier: MIT
// A sequence of launches in one: its work-groups take the groups of all launches in order, and wait
// where a group needs what earlier launches write, which is all of it. A group that waits long ends:
// whoever does what it waits for has lost its processor to somebody, and does the rest as well. Nobody
// takes what cannot begin, so one group alone would also reach the end.
// Each group is one work-item, and its local memory is its own.

#include "chain_task.cl"

#define PATIENCE 5000 // looks at `done`: some 100 us

__kernel void chain(__global ulong *tasks, const int total, BUFFER_PARAMETERS) {
    // The last is no buffer.
    __global char *const buffers[] = {BUFFER_LIST, 0};
    volatile __global int *taken = (volatile __global int *)(tasks + TAKEN);
    volatile __global int *done = (volatile __global int *)(tasks + DONE);
    __global const ulong *task = tasks + FIRST_TASK;
    int waited = 0;
    for (int ticket = *taken; ticket < total; ticket = *taken) {
        while (ticket >= (int)(task[2] + task[3])) task += task[1];
        const int before = (int)task[2];
        const uint x = (uint)task[5], y = (uint)task[6], groups = x * y * (uint)task[7];
        // Tickets are handed out so that a compute unit, if all are as fast, gets neighbours.
        const uint nth = (uint)(ticket - before), units = (uint)task[4], all = (uint)task[3];
        const uint track = nth % units;
        const uint part = track * (all / units) + min(track, all % units) + nth / units;
        const uint first = part * (uint)task[8], last = min(first + (uint)task[8], groups);
        if (*done < before) {
            // Bring what will be read into the cache meanwhile.
            const ulong line = 64 * (ulong)waited;
            if (line < task[11])
                FETCH(buffers[task[9]] + task[10] + task[11] * (first / x % y) + line);
            if (++waited > PATIENCE) return;
            continue;
        }
        // Another group may have taken it; if not, what was written before is seen from here on.
        if (atomic_cmpxchg(taken, ticket, ticket + 1) != ticket) continue;
        waited = 0;
        for (uint group = first; group < last; group++) {
            const uint place[6] = {group % x, group / x % y, group / x / y, x, y, (uint)task[7]};
            switch ((int)task[0]) { CASES }
        }
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        atomic_inc(done);
    }
}
