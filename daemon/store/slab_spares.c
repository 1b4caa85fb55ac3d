/*
 * Spare blocks: what a thread freed last, of small classes.
 *
 * A value that takes another's place gets a block just before that one's is freed, mostly of the same class. So what a
 * thread frees it keeps for itself, one of a class, and needs no lock for what comes and goes: with several threads,
 * each would have to get hold of the lock, the class and the slab's head from the others' caches, twice for each value.
 *
 * A thread's own. To the slab they are in use. They go when the thread ends, and before it asks what is in use.
 */
#include <pthread.h>
#include "store/slab_private.h"

_Thread_local struct hc_slab_spare hc_slab_spares[HC_SLAB_SPARES];

#ifdef HC_ADDRESS_SANITIZER
static const bool freed_is_seen = true; /* by who checks that nobody uses it any more */
#else
static const bool freed_is_seen = false;
#endif

static pthread_key_t end; /* its destructor runs when a thread that has set it ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool may_keep;
static _Thread_local bool noted;

static void
end_thread(void *arg)
{
	(void)arg;
	hc_slab_free_spares();
}

static void
begin(void)
{
	may_keep = pthread_key_create(&end, end_thread) == 0 && !freed_is_seen;
}

bool
hc_slab_may_keep_spares(void)
{
	if (__builtin_expect(!noted, 0)) {
		pthread_once(&once, begin);
		noted = may_keep && pthread_setspecific(end, hc_slab_spares) == 0;
	}
	return noted;
}

void
hc_slab_free_spares(void)
{
	for (unsigned i = 0; i < HC_SLAB_SPARES; i++) {
		if (hc_slab_spares[i].class != NULL)
			(void)hc_slab_free_block(hc_slab_spares[i].block, HC_SLAB_TAIL_MAX);
		hc_slab_spares[i].class = NULL;
	}
}
