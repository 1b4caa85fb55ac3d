/*
 * The system's calls, as they are.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "file/io.h"

static int
open_at(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags, mode);
}

const struct hc_file_io hc_file_io_system = {
    .openat = open_at,
    .pread = pread,
    .pwritev = pwritev,
    .fdatasync = fdatasync,
    .ftruncate = ftruncate,
    .unlinkat = unlinkat,
    .renameat = renameat,
};
