// SPDX-License-Identifier: GPL-2.0
/* Memory contents that can be checked word by word without a copy. */
#include "guest.h"

#define WORDS (PAGE / sizeof(uint64_t))
#define STRIDE 8	/* one word in so many is noise, the others repeat it */

static uint64_t noise(uint64_t seed, uint64_t index, uint64_t word)
{
	uint64_t x = (seed << 48) ^ (index * WORDS + word);

	x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
	return x ^ (x >> 29);
}

void pattern_fill(void *memory, size_t pages, uint64_t seed, uint64_t first)
{
	uint64_t *word = memory;
	uint64_t value = 0;

	for (size_t i = 0; i < pages * WORDS; i++) {
		if (i % STRIDE == 0)
			value = noise(seed, first + i / WORDS, i % WORDS);
		word[i] = value;
	}
}

/* How many pages do not hold what pattern_fill() wrote. */
size_t pattern_mismatches(const void *memory, size_t pages, uint64_t seed,
			  uint64_t first)
{
	const uint64_t *word = memory;
	size_t bad = 0;

	for (size_t page = 0; page < pages; page++, word += WORDS) {
		uint64_t value = 0;
		size_t i;

		for (i = 0; i < WORDS; i++) {
			if (i % STRIDE == 0)
				value = noise(seed, first + page, i);
			if (word[i] != value)
				break;
		}
		bad += i < WORDS;
	}
	return bad;
}
