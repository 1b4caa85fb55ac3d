/* Which life of which server; see life.h. */
#include "core/life.h"

#include <string.h>
#include "base/hash.h"

/* The value of a line `name:value`; empty: there is none. */
static struct hc_slice
field(struct hc_slice info, struct hc_slice name)
{
	const char *at = info.ptr, *end = info.ptr + info.len;

	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((line_end != NULL ? line_end : end) - at);
		if (len > 0 && at[len - 1] == '\r')
			len--;
		if (len > name.len && at[name.len] == ':' && memcmp(at, name.ptr, name.len) == 0)
			return hc_slice(at + name.len + 1, len - name.len - 1);
		if (line_end == NULL)
			break;
		at = line_end + 1;
	}
	return hc_slice(NULL, 0);
}

/* Never 0 for what is there. */
static uint32_t
digest(struct hc_slice value)
{
	return value.len == 0 ? 0 : hc_checksum(value.ptr, value.len) | 1;
}

uint32_t
hc_life_lineage(struct hc_slice info)
{
	return digest(field(info, HC_SLICE("master_replid")));
}

static bool
is_zeros(struct hc_slice value)
{
	size_t zeros = 0;

	while (zeros < value.len && value.ptr[zeros] == '0')
		zeros++;
	return zeros > 0 && zeros == value.len;
}

bool
hc_life_goes_on(struct hc_slice info)
{
	struct hc_slice followed = field(info, HC_SLICE("master_replid2"));
	struct hc_slice replicas = field(info, HC_SLICE("connected_slaves"));

	return hc_slice_eq(field(info, HC_SLICE("role")), HC_SLICE("master")) && is_zeros(followed) &&
	       replicas.len > 0 && !is_zeros(replicas);
}

bool
hc_life_in_cluster(struct hc_slice info)
{
	return hc_slice_eq(field(info, HC_SLICE("cluster_enabled")), HC_SLICE("1"));
}

uint64_t
hc_life(struct hc_slice info)
{
	uint32_t run = digest(field(info, HC_SLICE("run_id"))), lineage = hc_life_lineage(info);

	return run == 0 || lineage == 0 ? 0 : (uint64_t)run << 32 | lineage;
}
