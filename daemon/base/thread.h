/*
 * What a thread tells the kernel of itself when it begins. On the thread itself.
 */
#ifndef HC_BASE_THREAD_H
#define HC_BASE_THREAD_H

enum hc_thread_kind {
	HC_THREAD_SERVES,     /* somebody waits for it */
	HC_THREAD_CATCHES_UP, /* nobody does: others of this process first when processors are scarce */
};

/* `name` is what ps and top show: 15 bytes of it. What the kernel does not know of, or does not allow, is left as it
 * is. */
void hc_thread_begin(const char *name, enum hc_thread_kind kind);
/* Others that wait for this processor come first. Without others it costs as much as any system call. */
void hc_thread_yield(void);

#endif
