// SPDX-License-Identifier: MIT
// Everything at once. See README.md for an example of ten lines.
#ifndef CLFORMER_CLFORMER_H
#define CLFORMER_CLFORMER_H

#include <clformer/convert.h>
#include <clformer/device.h>
#include <clformer/evaluate.h>
#include <clformer/log.h>
#include <clformer/probe.h>
#include <clformer/status.h>
#include <clformer/train.h>
#include <clformer/translate.h>

#endif
