// SPDX-License-Identifier: MIT
// One program of many: each kernel file with its definitions, names made unique by a number,
// kernels turned into functions, then cl/chain.cl.
//
// Names are found by the kernel files' form: what is defined at file scope begins a line.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/chain.h"
#include "device/source.h"

// What a kernel asks for its place. FUNCTION is what it becomes, PLACE and HERE what it is given
// more.
static const char place[] = "#define get_group_id(i) ((size_t)place[i])\n"
                            "#define get_num_groups(i) ((size_t)place[3 + (i)])\n";

// A work-group is one work-item, local memory is its own.
static const char place_single[] = "#define get_global_id(i) get_group_id(i)\n"
                                   "#define get_global_size(i) get_num_groups(i)\n"
                                   "#define get_local_id(i) ((size_t)0)\n"
                                   "#define __local\n"
                                   "#define PLACE const uint *place\n"
                                   "#define HERE place\n"
                                   "#define FUNCTION static\n";

// GPUs may not call functions that use private arrays.
static const char place_group[] =
    "#define get_global_id(i) (get_group_id(i) * ((i) == 0 ? LANES : 1) + get_local_id(i))\n"
    "#define get_global_size(i) (get_num_groups(i) * ((i) == 0 ? LANES : 1))\n"
    "#define PLACE const uint *place, __local float16 *pool, __local float *row_scratch\n"
    "#define HERE place, pool, row_scratch\n"
    "#define FUNCTION static inline __attribute__((always_inline))\n";

static size_t name_length(const char *text) {
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) || text[length] == '_') length++;
    return length;
}

typedef struct name {
    const char *text; // NULL: none
    int length;
} name;

// The name that ends before `end`.
static name name_before(const char *line, const char *end) {
    const char *start = end;
    while (start > line && name_length(start - 1) > 0) start--;
    return (name){end > start ? start : NULL, (int)(end - start)};
}

static bool begins(const char *line, const char *with) {
    return strncmp(line, with, strlen(with)) == 0;
}

// The macro that a line defines.
static name macro_of(const char *line) {
    static const char define[] = "#define ";
    if (!begins(line, define)) return (name){0};
    line += sizeof define - 1;
    return (name){line, (int)name_length(line)};
}

// The function or type that a line at file scope defines.
static name symbol_of(const char *line) {
    const char *end = line + strcspn(line, "\n");
    if (begins(line, "static ") || begins(line, "inline ") || begins(line, "INLINE ") ||
        begins(line, "__kernel ")) {
        const char *open = memchr(line, '(', (size_t)(end - line));
        return open ? name_before(line, open) : (name){0};
    }
    if (begins(line, "typedef ") || begins(line, "} ")) {
        const char *attribute = strstr(line, " __attribute__");
        const char *semicolon = memchr(line, ';', (size_t)(end - line));
        if (!semicolon) return (name){0};
        return name_before(line, attribute && attribute < semicolon ? attribute : semicolon);
    }
    return (name){0};
}

static const char *next_line(const char *line) {
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

// `#undef` of macros, or of symbols, or `#define symbol symbol_NUMBER`.
static void write_names(FILE *out, const char *text, name find(const char *), int number) {
    for (; *text; text = next_line(text)) {
        const name n = find(text);
        if (!n.text) continue;
        if (number < 0)
            fprintf(out, "#undef %.*s\n", n.length, n.text);
        else
            fprintf(out, "#define %.*s %.*s_%d\n", n.length, n.text, n.length, n.text, number);
    }
}

// The file with kernels as functions that are told their place.
static void write_functions(FILE *out, const char *text) {
    const char *rest = text;
    for (const char *line = text; *line; line = next_line(line)) {
        if (!begins(line, "__kernel ")) continue;
        const char *open = strchr(line, '(');
        const name n = name_before(line, open);
        fprintf(out, "%.*sFUNCTION void %.*s(PLACE, ", (int)(line - rest), rest, n.length, n.text);
        rest = open + 1;
    }
    fputs(rest, out);
}

static int write_defines(FILE *out, const clf_device *device, const clf_kernel_spec *spec,
                         clf_define defines[CLF_ALL_DEFINES]) {
    const int count = clf_program_defines(device, spec, defines);
    for (int i = 0; i < count; i++) {
        const bool lanes = strcmp(defines[i].name, "LANES") == 0;
        if (lanes && defines[i].value > 1) defines[i].value = CLF_CHAIN_GROUP;
        fprintf(out, "#define %s %d\n", defines[i].name, defines[i].value);
    }
    return count;
}

static void write_section(FILE *out, const clf_device *device, const clf_kernel_spec *spec,
                          int number) {
    const char *texts[] = {clf_kernel_source("prelude"), clf_kernel_source(spec->file)};
    clf_define defines[CLF_ALL_DEFINES];
    const int count = write_defines(out, device, spec, defines);
    for (int i = 0; i < 2; i++) write_names(out, texts[i], symbol_of, number);
    for (int i = 0; i < 2; i++) {
        fprintf(out, "#line 1 \"cl/%s.cl\"\n", i == 0 ? "prelude" : spec->file);
        write_functions(out, texts[i]);
    }
    for (int i = 0; i < 2; i++) {
        write_names(out, texts[i], symbol_of, -1);
        write_names(out, texts[i], macro_of, -1);
    }
    for (int i = 0; i < count; i++) fprintf(out, "#undef %s\n", defines[i].name);
}

static void write_case(FILE *out, const clf_kernel *k, int number, int section) {
    fprintf(out, " case %d: %s_%d(HERE", number, k->spec.kernel, section);
    for (int i = 0; k->kinds[i]; i++) {
        const char *read = k->kinds[i] == 'B' ? "BUFFER" : k->kinds[i] == 'R' ? "REAL" : "NUMBER";
        fprintf(out, ", %s(%d)", read, i);
    }
    fputs("); break;", out);
}

// The first kernel of the list that comes from the same program.
static int section_of(clf_kernel *const *kernels, int kernel) {
    int i = 0;
    while (!clf_kernel_same_program(&kernels[i]->spec, &kernels[kernel]->spec)) i++;
    return i;
}

const char *clf_chain_file(const clf_device *device) {
    return device->profile.lanes == 1 ? "chain" : "chain_group";
}

char *clf_chain_source(const clf_device *device, clf_kernel *const *kernels, int count) {
    char *text = NULL;
    size_t size;
    clf_define defines[CLF_ALL_DEFINES];
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    const bool single = device->profile.lanes == 1;
    fputs(place, out);
    fputs(single ? place_single : place_group, out);
    if (!single) fprintf(out, "#define POOL %d\n", CLF_CHAIN_POOL);
    for (int i = 0; i < count; i++) {
        if (section_of(kernels, i) == i) write_section(out, device, &kernels[i]->spec, i);
    }
    fputs("#define CASES", out);
    for (int i = 0; i < count; i++) write_case(out, kernels[i], i, section_of(kernels, i));
    fputs("\n#define BUFFER_PARAMETERS ", out);
    for (int i = 0; i < CLF_CHAIN_BUFFERS; i++)
        fprintf(out, "%s__global char *b%d", i ? ", " : "", i);
    fputs("\n#define BUFFER_LIST ", out);
    for (int i = 0; i < CLF_CHAIN_BUFFERS; i++) fprintf(out, "%sb%d", i ? ", " : "", i);
    fprintf(out, "\n#define FIRST_TASK %d\n#define HEAD %d\n#define STRIDE %d\n", CLF_CHAIN_FIRST,
            CLF_CHAIN_HEAD, CLF_CHAIN_STRIDE);
    write_defines(out, device, &(clf_kernel_spec){0}, defines);
    const char *file = clf_chain_file(device);
    fprintf(out, "%s\n#line 1 \"cl/%s.cl\"\n%s", clf_kernel_source("prelude"), file,
            clf_kernel_source(file));
    const bool whole = !ferror(out);
    if (fclose(out) == 0 && whole) return text;
    free(text);
    return NULL;
}
