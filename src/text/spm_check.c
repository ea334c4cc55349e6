// SPDX-License-Identifier: MIT
// The file is one protocol-buffer message (sentencepiece_model.proto of google/sentencepiece).
#include "text/spm_check.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

// Fields of ModelProto, and of the messages inside.
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2 };
enum { NORMALIZER_CHARSMAP = 2 };
enum wire { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

typedef struct reader {
    const unsigned char *data;
    size_t size;
} reader;

typedef struct field {
    uint64_t number;
    enum wire wire;
    reader content; // of WIRE_BYTES, WIRE_32, WIRE_64
} field;

static bool read_varint(reader *r, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && r->size > 0; shift += 7) {
        unsigned char byte = *r->data++;
        r->size--;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

// The next field; false if the message is damaged.
static bool read_field(reader *r, field *f) {
    uint64_t key, length;
    if (!read_varint(r, &key) || key >> 3 == 0) return false;
    *f = (field){.number = key >> 3, .wire = (enum wire)(key & 7)};
    switch (f->wire) {
    case WIRE_VARINT: return read_varint(r, &length);
    case WIRE_64: length = 8; break;
    case WIRE_32: length = 4; break;
    case WIRE_BYTES:
        if (!read_varint(r, &length)) return false;
        break;
    default: return false;
    }
    if (length > r->size) return false;
    f->content = (reader){r->data, (size_t)length};
    r->data += length;
    r->size -= (size_t)length;
    return true;
}

static uint32_t read_u32(const unsigned char *data) {
    return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static bool piece_is_sound(reader r) {
    field f;
    bool has_text = false;
    while (r.size > 0) {
        if (!read_field(&r, &f)) return false;
        if (f.number == PIECE_TEXT) {
            if (f.wire != WIRE_BYTES || f.content.size == 0) return false;
            if (memchr(f.content.data, 0, f.content.size)) return false;
            has_text = true;
        } else if (f.number == PIECE_SCORE) {
            if (f.wire != WIRE_32) return false;
            uint32_t bits = read_u32(f.content.data);
            float score;
            memcpy(&score, &bits, sizeof score);
            if (!isfinite(score)) return false;
        }
    }
    return has_text;
}

// A character map: the size of a trie in bytes, the trie (a double array of 32-bit units, Darts
// clone), and replacement strings with a NUL each. A unit holds a label, the base of its children
// (which stand at base ^ label), and whether the unit at its base is a leaf: an index into the
// replacements.
typedef struct charsmap {
    const unsigned char *units;
    size_t count, replacements;
    size_t visits;             // that may still be made: damaged units can form a cycle
    uint32_t *children, *next; // a list of units for each base; index + 1, 0 at the end
} charsmap;

enum {
    CHARSMAP_KEY_LIMIT = 256,  // bytes of a key; real ones have less than 80
    CHARSMAP_MATCH_LIMIT = 32, // keys that begin one text: the library has room for so many
    CHARSMAP_VISIT_FACTOR = 8, // visits per unit: keys with a common end may share units
};

static uint32_t read_unit(const charsmap *map, uint32_t index) {
    return read_u32(map->units + 4 * (size_t)index);
}

static void list_children(charsmap *map) {
    memset(map->children, 0, map->count * sizeof *map->children);
    for (uint32_t i = 0; i < map->count; i++) {
        uint32_t label = read_unit(map, i) & 0x800000ff;
        uint32_t base = i ^ (label & 0xff);
        if (label > 255 || base >= map->count) continue; // a leaf, or no possible child
        map->next[i] = map->children[base];
        map->children[base] = i + 1;
    }
}

static bool trie_is_sound(charsmap *map, uint32_t index, int length, int matches) {
    if (map->visits-- == 0 || length > CHARSMAP_KEY_LIMIT) return false;
    uint32_t unit = read_unit(map, index);
    uint32_t base = index ^ (unit >> 10) << ((unit & 0x200) >> 6);
    if ((base | 255) >= map->count) return false;
    if (unit & 0x100) {
        uint32_t value = read_unit(map, base) & 0x7fffffff;
        if (value >= map->replacements || ++matches > CHARSMAP_MATCH_LIMIT) return false;
    }
    for (uint32_t child = map->children[base]; child > 0; child = map->next[child - 1]) {
        if (!trie_is_sound(map, child - 1, length + 1, matches)) return false;
    }
    return true;
}

// `scratch` has room for two numbers for each four bytes.
static bool charsmap_is_sound(reader r, uint32_t *scratch) {
    if (r.size == 0) return true;
    if (r.size <= 4) return false;
    size_t trie = read_u32(r.data);
    if (trie == 0 || trie % 4 != 0 || trie >= r.size - 4 || r.data[r.size - 1] != 0) return false;
    charsmap map = {.units = r.data + 4, .count = trie / 4, .replacements = r.size - 4 - trie};
    map.visits = map.count * CHARSMAP_VISIT_FACTOR;
    map.children = scratch;
    map.next = scratch + map.count;
    list_children(&map);
    return trie_is_sound(&map, 0, 0, 0);
}

static bool normalizer_is_sound(reader r, uint32_t *scratch) {
    field f;
    while (r.size > 0) {
        if (!read_field(&r, &f)) return false;
        if (f.number != NORMALIZER_CHARSMAP) continue;
        if (f.wire != WIRE_BYTES || !charsmap_is_sound(f.content, scratch)) return false;
    }
    return true;
}

static bool model_is_sound(reader r, uint32_t *scratch) {
    field f;
    bool has_piece = false, has_trainer = false, has_normalizer = false, sound = true;
    while (sound && r.size > 0) {
        if (!read_field(&r, &f)) return false;
        if (f.number == MODEL_PIECE) {
            has_piece = true;
            sound = f.wire == WIRE_BYTES && piece_is_sound(f.content);
        } else if (f.number == MODEL_TRAINER) {
            has_trainer = true;
        } else if (f.number == MODEL_NORMALIZER || f.number == MODEL_DENORMALIZER) {
            has_normalizer |= f.number == MODEL_NORMALIZER;
            sound = f.wire == WIRE_BYTES && normalizer_is_sound(f.content, scratch);
        }
    }
    return sound && has_piece && has_trainer && has_normalizer;
}

clf_status clf_spm_check(const char *path, const void *data, size_t size) {
    uint32_t *scratch = malloc((size / 4 + 1) * 2 * sizeof *scratch);
    if (!scratch) return clf_fail_memory();
    bool sound = model_is_sound((reader){data, size}, scratch);
    free(scratch);
    if (sound) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT,
                    "%s: damaged, cut short or not a SentencePiece model; fetch it again", path);
}
