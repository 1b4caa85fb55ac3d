/*
 * Feeds inputs kept from fuzzing to a target, without a fuzzer: each file named, and each file in the folders
 * named. Linked with one target; ends by the target's own checks when an input fails.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include "tests/fuzz/fuzz.h"

static bool
replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(size > 0 ? size : 1);
	bool ok = file && data && fread(data, 1, size, file) == size;

	if (ok)
		LLVMFuzzerTestOneInput(data, size);
	else
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	if (file)
		fclose(file);
	free(data);
	return ok;
}

static bool replay(const char *path, size_t *count);

static bool
replay_folder(const char *path, size_t *count)
{
	DIR *dir = opendir(path);
	bool ok = dir != NULL;
	struct dirent *entry;

	while (ok && (entry = readdir(dir))) {
		char *inner;
		if (entry->d_name[0] == '.')
			continue;
		ok = asprintf(&inner, "%s/%s", path, entry->d_name) >= 0;
		if (ok) {
			ok = replay(inner, count);
			free(inner);
		}
	}
	if (dir)
		closedir(dir);
	else
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return ok;
}

static bool
replay(const char *path, size_t *count)
{
	struct stat about;

	if (stat(path, &about) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	if (S_ISDIR(about.st_mode))
		return replay_folder(path, count);
	++*count;
	return replay_file(path, (size_t)about.st_size);
}

int
main(int argc, char **argv)
{
	size_t count = 0;

	for (int i = 1; i < argc; i++)
		if (!replay(argv[i], &count))
			return EXIT_FAILURE;
	printf("%zu inputs replayed\n", count);
	return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
