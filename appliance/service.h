/*
 * service: what a daemon and the service manager tell each other (sd_notify(3), sd_listen_fds(3)).
 * Without a manager every call is nothing.
 *
 * The watchdog is fed by the thread that does the work, from its loop, so that a thread that hangs
 * is a process that is restarted. No step of that loop may take longer than service_expect() said.
 */
#ifndef APPLIANCE_SERVICE_H
#define APPLIANCE_SERVICE_H

#include "base/base.h"

/**
 * Before any thread. -EINVAL when the unit's WatchdogSec= leaves no room for steps of @step_ms.
 */
MUST_CHECK int service_start(unsigned int step_ms, struct err *err);

/** The working thread, once around its loop: it lives. Cheap. */
void service_alive(void);

/** The working thread: its next step may take @ms; 0: what service_start() was told, again. */
void service_expect(unsigned int ms);

/** How things stand, for people; the first time that they are @ready is the unit's start. Cheap
 *  when nothing has changed. One thread. */
void service_report(bool ready, const char *text);

/** The end has begun. */
void service_stopping(void);

/** The listening Unix socket at @path that the manager opened for us, or -1. */
int service_socket(const char *path);

#endif
