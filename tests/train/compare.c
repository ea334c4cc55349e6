// SPDX-License-Identifier: MIT
// Compares the weights of two model directories: the largest |a - b| / |a| of any tensor (Euclidean
// norms) must not exceed the bound. Biases of attention's keys are left out: they add the same
// to each weight before the softmax, so their gradient is nothing but rounding, which Adam scales
// up. Usage: compare BOUND DIRECTORY_A DIRECTORY_B
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

static double distance(const clf_stored *a, const clf_stored *b) {
    size_t count = 1;
    for (int i = 0; i < a->rank; i++) {
        count *= (size_t)a->shape[i];
        if (a->rank != b->rank || a->shape[i] != b->shape[i]) return INFINITY;
    }
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        float x, y;
        memcpy(&x, a->data + i * sizeof x, sizeof x);
        memcpy(&y, b->data + i * sizeof y, sizeof y);
        difference += ((double)x - (double)y) * ((double)x - (double)y);
        size += (double)x * (double)x;
    }
    return difference > 0 ? sqrt(difference / size) : 0;
}

int main(int argc, char **argv) {
    clf_store stores[2] = {0};
    if (argc != 4) return 2;
    for (int i = 0; i < 2; i++) {
        if (clf_safetensors_open(argv[2 + i], &stores[i]) == CLF_OK &&
            clf_store_sort(&stores[i]) == CLF_OK)
            continue;
        fprintf(stderr, "%s\n", clf_last_error());
        return 2;
    }
    double largest = stores[0].tensors.count == stores[1].tensors.count ? 0 : INFINITY;
    const char *name = "(their number)";
    for (size_t i = 0; i < stores[0].tensors.count; i++) {
        const clf_stored *a = &stores[0].tensors.data[i];
        const clf_stored *b = clf_store_find(&stores[1], a->name);
        if (strstr(a->name, "k_proj.bias")) continue;
        const double d = b && strcmp(a->type, "F32") == 0 ? distance(a, b) : INFINITY;
        if (d <= largest) continue;
        largest = d;
        name = a->name;
    }
    printf("%s and %s differ by %.2g in %s\n", argv[2], argv[3], largest, name);
    for (int i = 0; i < 2; i++) clf_store_close(&stores[i]);
    return largest <= strtod(argv[1], NULL) ? 0 : 1;
}
