/*
 * finetune, distill, vocab: mpcformer-train does them, a program of its own so that what training
 * is linked with stays out of the tool and of the daemon.
 */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "mpcformer-train"

/* How often a thread that waits for another looks before it sleeps: for about as long as sleeping
 * and waking take. Of its own accord libgomp looks for milliseconds, which beside any other work on
 * the CPUs is most of the time. */
#define SPINS "2000"

int cmd_train(int argc, char **argv)
{
    char program[] = PROGRAM, path[PATH_MAX];
    char **arguments = calloc((size_t)argc + 2, sizeof(*arguments));
    struct err err = {""};
    int rc;

    if (!arguments)
        return tool_fail(NULL, -ENOMEM);
    arguments[0] = program;
    arguments[1] = strrchr(argv[0], ' ') + 1; /* of "mpcformer finetune" */
    memcpy(arguments + 2, argv + 1, (size_t)argc * sizeof(*arguments));
    if (!getenv("OMP_WAIT_POLICY"))
        setenv("GOMP_SPINCOUNT", SPINS, 0); /* libgomp reads it before main() */
    if (tool_beside(PROGRAM, path) == 0)
        execv(path, arguments);
    execvp(PROGRAM, arguments);
    rc = err_set(&err, -errno, PROGRAM " cannot be run: %s", strerror(errno));
    free(arguments);
    return tool_fail(&err, rc);
}
