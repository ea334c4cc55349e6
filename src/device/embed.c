// SPDX-License-Identifier: MIT
// Runs at build time: turns the kernel files into C strings.
//     embed OUTPUT.c PRELUDE.cl KERNEL.cl ...
// declares clf_kernel_files[], see device/source.h.
#include <stdio.h>
#include <string.h>

// Writes the text of a file as lines of a string. A line `#include "file"` stands for a file of the
// same directory.
static int embed_text(FILE *out, const char *path) {
    static const char include[] = "#include \"";
    char line[1024], other[1024];
    const char *slash = strrchr(path, '/');
    FILE *in = fopen(path, "rb");
    if (!in) {
        fprintf(stderr, "embed: cannot read %s\n", path);
        return 0;
    }
    int good = 1;
    while (good && fgets(line, sizeof line, in)) {
        if (strncmp(line, include, sizeof include - 1) == 0) {
            snprintf(other, sizeof other, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path,
                     line + sizeof include - 1);
            other[strcspn(other, "\"")] = '\0';
            good = embed_text(out, other);
            continue;
        }
        fputs("     \"", out);
        for (const char *c = line; *c; c++) {
            if (*c == '\n') {
                fputs("\\n", out);
            } else if (*c == '"' || *c == '\\') {
                fprintf(out, "\\%c", *c);
            } else {
                fputc(*c, out);
            }
        }
        fputs("\"\n", out);
    }
    fclose(in);
    return good;
}

static int embed_file(FILE *out, const char *path) {
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(name, '.');
    fprintf(out, "    {\"%.*s\",\n", dot ? (int)(dot - name) : (int)strlen(name), name);
    if (!embed_text(out, path)) return 0;
    fputs("    },\n", out);
    return 1;
}

int main(int argc, char **argv) {
    FILE *out = argc > 2 ? fopen(argv[1], "w") : NULL;
    if (!out) return 1;
    fputs("// Made from cl/*.cl by embed.c.\n#include \"device/source.h\"\n\n"
          "const clf_kernel_file clf_kernel_files[] = {\n",
          out);
    for (int i = 2; i < argc; i++) {
        if (!embed_file(out, argv[i])) return 1;
    }
    fputs("    {0, 0},\n};\n", out);
    return fclose(out) == 0 ? 0 : 1;
}
