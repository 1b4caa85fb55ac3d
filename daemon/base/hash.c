/*
 * The keyed hash of cache keys, checksums and randomness. Any thread once hc_hash_init() has
 * returned; owns the process's hash secret, constant from then on.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>
#include "base/hash.h"

static unsigned char secret[XXH3_SECRET_DEFAULT_SIZE];
static bool drawn;

int
hc_hash_init(void)
{
	if (drawn)
		return 0;
	if (hc_random(secret, sizeof(secret)) != 0)
		return -1;
	drawn = true;
	return 0;
}

/* Of any length; kept out of the frame of the short ones, which need none. */
static __attribute__((noinline)) uint64_t
hash_long(const void *ptr, size_t len)
{
	return XXH3_64bits_withSecret(ptr, len, secret, sizeof(secret));
}

#define SHORT_MAX 16 /* the lengths XXH3 has no loop for */

/* With calls in it inlined, of which the known bound of `len` leaves little. */
__attribute__((flatten)) uint64_t
hc_hash(const void *ptr, size_t len)
{
	assert(drawn); /* an all-zero secret would make every short key collide */
	if (len > SHORT_MAX)
		return hash_long(ptr, len);
	return XXH3_64bits_withSecret(ptr, len, secret, sizeof(secret));
}

uint32_t
hc_checksum(const void *ptr, size_t len)
{
	return (uint32_t)XXH3_64bits(ptr, len);
}

int
hc_random(void *dst, size_t len)
{
	unsigned char *p = dst;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
