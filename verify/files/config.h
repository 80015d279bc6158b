/* config.json of a DeepSeek-V3 checkpoint, with the keys of Hugging Face 4 (and the released file) or 5. */
#ifndef CONFIG_H
#define CONFIG_H

#include "dsv3_config.h"
#include "file_map.h"

enum { CONFIG_MAX_SIZE = 1 << 20 }; /* bytes of a config.json */

/* Reads the text of a config.json; path is for the sentence. Absent keys mean what transformers 5.23 makes of
 * them where that is harmless, sizes must be there; docs/formats.md lists the rules. Plain RoPE is YaRN with
 * factor 1. On an error returns false and one sentence in why that names the file, the key, its value and what
 * is expected. */
bool config_parse(const char *path, const char *text, size_t length, dsv3_config *out, complaint *why);

/* The same for a file of any name. */
bool config_read(const char *path, dsv3_config *out, complaint *why);

/* The same for dir/config.json. */
bool config_open(const char *dir, dsv3_config *out, complaint *why);

#endif
