// SPDX-License-Identifier: MIT
// Included by what runs a sequence of launches in one: how a launch, a task, is written down.
//
// What stands in front is made by src/device/chain_source.c: the kernels as functions, CASES, which
// calls them, the buffers, FIRST_TASK and HEAD.
//
// `tasks` has two counters, of tickets taken and of tickets done, each in a cache line of its own. A
// ticket is for a few groups side by side of one launch. From FIRST_TASK on, for each launch, HEAD
// words:
//   0 kernel   1 words to the next launch   2 tickets before it   3 its tickets   4 compute units
//   5, 6, 7 groups by dimension   8 groups of a ticket   9 buffer, 10 byte, 11 bytes: what group
//   (., y, .) reads that no launch writes, its first byte and length for y = 0, followed by those of
//   the others   12 its rows, 13 bytes from one to the next, 14 bytes of one for all y
// and then its arguments, of which a buffer is its number.

#define TAKEN 0
#define DONE  8

#define BUFFER(i) ((__global void *)buffers[task[HEAD + (i)]])
#define NUMBER(i) (task[HEAD + (i)])
#define REAL(i)   as_float((uint)task[HEAD + (i)])
