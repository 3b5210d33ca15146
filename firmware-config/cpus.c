#include "firmware-config/cpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool take_number(const char **at, unsigned int *ret)
{
    const char *start = *at;

    *ret = 0;
    for (; **at >= '0' && **at <= '9' && *at - start < 5; (*at)++)
        *ret = *ret * 10 + (unsigned int)(**at - '0');
    return *at > start && *ret < CPU_SETSIZE;
}

int cpus_parse(const char *text, cpu_set_t *ret)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (const char *at = text; *at;) {
        unsigned int first, last;

        if (!take_number(&at, &first))
            return -EINVAL;
        last = first;
        if (*at == '-' && (at++, !take_number(&at, &last) || last < first))
            return -EINVAL;
        for (unsigned int cpu = first; cpu <= last; cpu++)
            CPU_SET(cpu, &set);
        if (*at && (*at++ != ',' || !*at))
            return -EINVAL;
    }
    *ret = set;
    return 0;
}

char *cpus_text(const cpu_set_t *set)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    const char *comma = "";

    if (!out)
        return NULL;
    for (unsigned int cpu = 0, next; cpu < CPU_SETSIZE; cpu = next) {
        for (next = cpu; next < CPU_SETSIZE && CPU_ISSET(next, set); next++)
            ;
        if (next == cpu) {
            next++;
            continue;
        }
        fprintf(out, next == cpu + 1 ? "%s%u" : "%s%u-%u", comma, cpu, next - 1);
        comma = ",";
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

void cpus_without(const cpu_set_t *a, const cpu_set_t *b, cpu_set_t *ret)
{
    cpu_set_t both;

    CPU_AND(&both, a, b);
    CPU_XOR(ret, a, &both);
}
