#include "distill/trace.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static struct {
    FILE *file;
    size_t rank;
} trace;

int trace_open(const char *path, size_t rank, struct err *err)
{
    char name[PATH_MAX];

    if ((size_t)snprintf(name, sizeof(name), "%s.%zu", path, rank) >= sizeof(name))
        return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
    trace.file = fopen(name, "we");
    trace.rank = rank;
    if (!trace.file)
        return err_set(err, -errno, "%s: cannot be written: %s", name, strerror(errno));
    fprintf(trace.file,
            "[{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%zu,\"args\":{\"name\":\"rank "
            "%zu\"}}",
            rank, rank);
    return 0;
}

void trace_span(enum trace_line line, const char *name, uint64_t begin_ns, uint64_t end_ns)
{
    if (trace.file)
        fprintf(trace.file,
                ",\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%zu,\"tid\":%d,"
                "\"ts\":%.3f,\"dur\":%.3f}",
                name, line == TRACE_RANKS ? "sum" : "backward", trace.rank, (int)line,
                (double)begin_ns / 1e3, (double)(end_ns - begin_ns) / 1e3);
}

int trace_close(struct err *err)
{
    bool failed;

    if (!trace.file)
        return 0;
    fputs("]\n", trace.file);
    failed = ferror(trace.file);
    failed = fclose(trace.file) != 0 || failed;
    trace.file = NULL;
    return failed ? err_set(err, -EIO, "the trace cannot be written") : 0;
}
