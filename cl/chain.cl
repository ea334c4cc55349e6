// SPDX-License-Identifier: MIT
// A sequence of launches in one: its work-groups take the groups of all launches in order, and wait
// where a group needs what earlier launches write, which is all of it. A group that waits long ends:
// whoever does what it waits for has lost its processor to somebody, and does the rest as well. Nobody
// takes what cannot begin, so one group alone would also reach the end.
//
// What stands in front is made by src/device/chain_source.c: the kernels as functions, CASES, which
// calls them, the buffers, FIRST_TASK and HEAD. Each group is one work-item, and its local memory is
// its own.
//
// `tasks` has two counters, of tickets taken and of tickets done, each in a cache line of its own. A
// ticket is for a few groups side by side of one launch. From FIRST_TASK on, for each launch, HEAD
// words:
//   0 kernel   1 words to the next launch   2 tickets before it   3 its tickets   4 compute units
//   5, 6, 7 groups by dimension   8 groups of a ticket   9 buffer, 10 byte, 11 bytes: what group
//   (., y, .) reads that no launch writes, its first byte and length for y = 0, followed by those of
//   the others
// and then its arguments, of which a buffer is its number.

#define TAKEN    0
#define DONE     8
#define PATIENCE 5000 // looks at `done`: some 100 us

#define BUFFER(i) ((__global void *)buffers[task[HEAD + (i)]])
#define NUMBER(i) (task[HEAD + (i)])
#define REAL(i)   as_float((uint)task[HEAD + (i)])

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
