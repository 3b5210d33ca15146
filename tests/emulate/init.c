/*
 * The first process of the emulated machine: runs the programs that /arguments lists, up to the
 * first that fails, writes "exit N" as the last line to the serial port, and switches off.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define WORDS_MAX         64 /* of one program */
#define ARGUMENTS_BYTES   4096
#define EXIT_NOT_EXECUTED 127
#define BOCHS_OFF_PORT    0x8900 /* Bochs ends when "Shutdown" is written here */

static int run(char *const argv[])
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        execv(argv[0], argv);
        perror(argv[0]);
        _exit(EXIT_NOT_EXECUTED);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* /arguments: words that each end with a NUL; NAME=VALUE..., then each program's path and
   arguments, which an empty word ends. */
static int run_all(void)
{
    static char words[ARGUMENTS_BYTES];
    char *argv[WORDS_MAX + 1];
    FILE *f = fopen("/arguments", "rb");
    size_t length = f ? fread(words, 1, sizeof(words) - 1, f) : 0, count = 0;
    int rc = length > 0 && length < sizeof(words) - 1 ? 0 : EXIT_NOT_EXECUTED;

    for (char *w = words; rc == 0 && w < words + length && count < WORDS_MAX; w += strlen(w) + 1) {
        if (*w == '\0') {
            argv[count] = NULL;
            rc = run(argv);
            count = 0;
        } else if (count == 0 && *w != '/') {
            putenv(w);
        } else {
            argv[count++] = w;
        }
    }
    return count > 0 ? EXIT_NOT_EXECUTED : rc;
}

int main(void)
{
    printf("\nexit %d\n", run_all());
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    ioperm(BOCHS_OFF_PORT, 1, 1);
    for (const char *c = "Shutdown"; *c; c++)
        outb((unsigned char)*c, BOCHS_OFF_PORT);
    for (;;)
        pause();
}
