// SPDX-License-Identifier: MIT
// Runs at build time: turns the kernel files into C strings.
//     embed OUTPUT.c PRELUDE.cl KERNEL.cl ...
// declares clf_kernel_files[], see device/source.h.
#include <stdio.h>
#include <string.h>

static int embed_file(FILE *out, const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in) return 0;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(name, '.');
    int length = dot ? (int)(dot - name) : (int)strlen(name);
    fprintf(out, "    {\"%.*s\",\n     \"", length, name);
    for (int c = fgetc(in); c != EOF; c = fgetc(in)) {
        if (c == '\n') {
            fputs("\\n\"\n     \"", out);
        } else if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else {
            fputc(c, out);
        }
    }
    fputs("\"},\n", out);
    fclose(in);
    return 1;
}

int main(int argc, char **argv) {
    FILE *out = argc > 2 ? fopen(argv[1], "w") : NULL;
    if (!out) return 1;
    fputs("// Made from cl/*.cl by embed.c.\n#include \"device/source.h\"\n\n"
          "const clf_kernel_file clf_kernel_files[] = {\n",
          out);
    for (int i = 2; i < argc; i++) {
        if (!embed_file(out, argv[i])) {
            fprintf(stderr, "embed: cannot read %s\n", argv[i]);
            return 1;
        }
    }
    fputs("    {0, 0},\n};\n", out);
    return fclose(out) == 0 ? 0 : 1;
}
