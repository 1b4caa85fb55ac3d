#include "file/inspect.h"
int hc_file_inspect(const char *dir, FILE *to) { (void)dir; (void)to; return 2; }
