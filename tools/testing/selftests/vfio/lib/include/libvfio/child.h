/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes of a test's own: what they say, byte by byte, and when they shall go on.
 * A child is killed when its parent ends.
 */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;	/* also of one that has ended */
	bool running;
	int says;	/* the parent's ends of a pipe and of a socket */
	int go;		/* -1 after child_let_go() */
};

/* Run @fn in a new process, which ends with status 0 when @fn returns. */
void child_start(struct child *child, void (*fn)(void *), void *data);

/* The next byte that it says, 0 when it says no more. */
char child_hear(struct child *child);
/* Does it say @byte next, within @ms? */
bool child_hears(struct child *child, char byte, int ms);
void child_let_go(struct child *child);
/* Wait for the end of it, which it is let go for. Returns the status of waitpid(). */
int child_wait(struct child *child);
/*
 * Does it end within @seconds, as it is? Returns its exit status, 128 more than the
 * number of the signal that has killed it, or -1 if it does not end.
 */
int child_ends(struct child *child, int seconds);
/* Kill it and wait for that, as child_wait() does. */
int child_kill(struct child *child);

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

/* Returns the exit status of @pid, or minus the signal that has killed it. */
int wait_for(pid_t pid);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_CHILD_H */
