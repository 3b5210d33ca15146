#include "appliance/service.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

/* Steps of the longest allowed length that must fit between two signs of life. */
#define STEPS 6

#define TEXT_MAX 256

static struct {
    uint64_t watchdog_us; /* 0: nobody watches */
    uint64_t fed_ns;
    bool ready;
    char text[TEXT_MAX];
} service;

int service_start(unsigned int step_ms, struct err *err)
{
    uint64_t us = 0;

    if (sd_watchdog_enabled(0, &us) <= 0)
        return 0;
    if (us < (uint64_t)STEPS * step_ms * 1000)
        return err_set(err, -EINVAL,
                       "WatchdogSec= is %" PRIu64 " ms, and a step may take timeout_ms = %u: set "
                       "%u s in the unit, or shorten timeout_ms",
                       us / 1000, step_ms, (STEPS * step_ms + 999) / 1000);
    service.watchdog_us = us;
    return 0;
}

void service_alive(void)
{
    uint64_t now = service.watchdog_us ? time_ns() : 0;

    if (!service.watchdog_us || now - service.fed_ns < service.watchdog_us * 1000 / 4)
        return;
    service.fed_ns = now;
    sd_notify(0, "WATCHDOG=1");
}

void service_expect(unsigned int ms)
{
    uint64_t us = MAX((uint64_t)ms * 1000, service.watchdog_us);

    if (service.watchdog_us)
        sd_notifyf(0, "WATCHDOG_USEC=%" PRIu64 "\nWATCHDOG=1", us);
}

void service_report(bool ready, const char *text)
{
    if (strcmp(text, service.text) == 0 && (service.ready || !ready))
        return;
    snprintf(service.text, sizeof(service.text), "%s", text);
    sd_notifyf(0, "%sSTATUS=%s", ready && !service.ready ? "READY=1\n" : "", service.text);
    service.ready |= ready;
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=stops");
}

int service_socket(const char *path)
{
    int count = sd_listen_fds(0);

    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; fd++)
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0)
            return fd;
    return -1;
}
