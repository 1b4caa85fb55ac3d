/*
 * The keyed hash of cache keys: XXH3 (xxhash.com) with a secret drawn once per process, so that clients cannot
 * choose keys that fall together.
 */
#ifndef HC_BASE_HASH_H
#define HC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Draws the secret. Once, before any other thread runs; returns 0, or -1 when the system gives no randomness. */
int hc_hash_init(void);

uint64_t hc_hash(const void *ptr, size_t len);

/* Unkeyed, the same everywhere: for checksums of what is stored or sent. XXH3-64, low 32 bits. */
uint32_t hc_checksum(const void *ptr, size_t len);

/* Fills `dst` with random bytes (getrandom). Returns 0 or -1. */
int hc_random(void *dst, size_t len);

#endif
