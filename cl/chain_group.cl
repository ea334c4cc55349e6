// SPDX-License-Identifier: MIT
// A sequence of launches in one, on devices whose work-groups are of many work-items: all kernels run
// in groups of LANES of them, and share POOL bytes of local memory. Groups take tickets in the order
// of the launches, and wait where earlier launches are unfinished. Whoever holds an earlier ticket is
// running, so one group alone would also reach the end.
//
// A launch lies STRIDE words behind the one before.
//
// What a group wrote is seen by groups that found its ticket done: a barrier, then a fence of the whole
// device and the counter on one side, the counter, the fence and a barrier on the other.

#include "chain_task.cl"

// Of OpenCL C 2.0. The mem_fence of 1.2 orders what a group sees, on NVIDIA's not what others see.
#define DEVICE_FENCE                                                                               \
    atomic_work_item_fence(CLK_GLOBAL_MEM_FENCE, memory_order_acq_rel, memory_scope_device)
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)

// Work-items read what groups (., y, .) will read, which brings it nearer.
static void fetch(volatile __global const char *from, __local const ulong *task, uint y) {
    const ulong begin = task[11] * y, end = min(begin + task[11], task[14]);
    const uint rows = begin < end ? (uint)task[12] : 0;
    const uint parts = max((uint)(end - begin + 31) / 32, 1u);
    for (uint i = (uint)get_local_id(0); i < rows * parts; i += LANES)
        (void)from[begin + i / parts * task[13] + i % parts * 32];
}

__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
chain(__global ulong *tasks, const int total, const int launches, BUFFER_PARAMETERS) {
    __local float16 pool[POOL / 64];
    __local float row_scratch[LANES];
    __local ulong task[STRIDE];
    __local int taken_ticket, found;
    // The last is no buffer.
    __global char *const buffers[] = {BUFFER_LIST, 0};
    volatile __global int *taken = (volatile __global int *)(tasks + TAKEN);
    volatile __global int *done = (volatile __global int *)(tasks + DONE);
    const int item = (int)get_local_id(0);
    if (item == 0) taken_ticket = atomic_inc(taken);
    BARRIER;
    while (taken_ticket < total) {
        BARRIER;
        const int ticket = taken_ticket;
        for (int i = item; i < launches; i += LANES) {
            __global const ulong *its = tasks + FIRST_TASK + i * STRIDE;
            if (ticket >= (int)its[2] && ticket < (int)(its[2] + its[3])) found = i;
        }
        BARRIER;
        for (int i = item; i < STRIDE; i += LANES) task[i] = tasks[FIRST_TASK + found * STRIDE + i];
        BARRIER;
        const int before = (int)task[2];
        const uint x = (uint)task[5], y = (uint)task[6], groups = x * y * (uint)task[7];
        const uint first = (uint)(ticket - before) * (uint)task[8];
        const uint last = min(first + (uint)task[8], groups);
        __global const char *coming = buffers[task[9]] + task[10];
        fetch(coming, task, first / x % y);
        if (item == 0) {
            while (*done < before) {}
            DEVICE_FENCE;
        }
        BARRIER;
        for (uint group = first; group < last; group++) {
            const uint place[6] = {group % x, group / x % y, group / x / y, x, y, (uint)task[7]};
            if (group + 1 < last) fetch(coming, task, (group + 1) / x % y);
            switch ((int)task[0]) { CASES }
            BARRIER;
        }
        if (item == 0) {
            DEVICE_FENCE;
            atomic_inc(done);
            taken_ticket = atomic_inc(taken);
        }
        BARRIER;
    }
}
