// SPDX-License-Identifier: MIT
#include <clformer/clformer.h>

int main(void) {
    return 0;
}
