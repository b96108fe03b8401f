/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes of a test's own: what they say, byte by byte, and when they shall go on.
 * A child is killed when its parent ends.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;	/* also of one that has ended */
	bool running;
	int says;	/* the parent's ends of a pipe and of a socket */
	int go;		/* -1 after child_let_go() */
};

/* Run @fn in a new process: what it returns is the exit status. */
void child_start(struct child *child, int (*fn)(void *), void *data);

/* The next byte that it says, 0 when it says no more. */
char child_hear(struct child *child);
/* Does it say @byte next, within @ms? */
bool child_hears(struct child *child, char byte, int ms);
void child_let_go(struct child *child);

/*
 * Let it go and wait for its end; kill it and wait for that; or wait for so many
 * seconds, and if it has not ended then, return CHILD_RUNS. Return its exit status, or
 * minus the signal that has killed it.
 */
int child_wait(struct child *child);
int child_kill(struct child *child);
int child_ends(struct child *child, int seconds);

#define CHILD_RUNS	INT_MIN

/* In a child, about itself. */
void say(char byte);
/* Until it is let go. */
void wait_for_go(void);

/* The files of the above, for a program that a child executes. */
struct child_files {
	int say;
	int go;
};

struct child_files child_files(void);
void child_take_files(struct child_files files);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H */
