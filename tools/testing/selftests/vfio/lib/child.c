// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/types.h>

#include <libvfio/assert.h>
#include <libvfio/child.h>

#define POLL_US		(100 * 1000)
#define POLLS_PER_S	(1000 * 1000 / POLL_US)

static struct child_files self;	/* in a child, its ends of the pipes */

void child_start(struct child *child, int (*fn)(void *), void *data)
{
	int says[2], go[2];

	VFIO_ASSERT_EQ(pipe(says), 0);
	VFIO_ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
	child->pid = fork();
	VFIO_ASSERT_GE(child->pid, 0);
	if (!child->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(says[0]);
		close(go[1]);
		self = (struct child_files){ .say = says[1], .go = go[0] };
		_exit(fn(data));
	}
	close(says[1]);
	close(go[0]);
	child->running = true;
	child->says = says[0];
	child->go = go[1];
}

char child_hear(struct child *child)
{
	char byte = 0;

	VFIO_ASSERT_GE(read(child->says, &byte, 1), 0);
	return byte;
}

bool child_hears(struct child *child, char byte, int ms)
{
	struct pollfd fds = { .fd = child->says, .events = POLLIN };

	return poll(&fds, 1, ms) == 1 && child_hear(child) == byte;
}

void child_let_go(struct child *child)
{
	if (child->go < 0)
		return;
	/*
	 * A byte, since a later child may have this end open, too. The one that it is
	 * for may have ended.
	 */
	send(child->go, "g", 1, MSG_NOSIGNAL);
	close(child->go);
	child->go = -1;
}

static int child_ended(struct child *child, int status)
{
	if (child->go >= 0)
		close(child->go);
	close(child->says);
	child->running = false;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int child_wait(struct child *child)
{
	int status;

	child_let_go(child);
	VFIO_ASSERT_EQ(waitpid(child->pid, &status, 0), child->pid);
	return child_ended(child, status);
}

int child_ends(struct child *child, int seconds)
{
	int n, status;

	for (n = 0; n < seconds * POLLS_PER_S; n++) {
		if (waitpid(child->pid, &status, WNOHANG) == child->pid)
			return child_ended(child, status);
		usleep(POLL_US);
	}
	return CHILD_RUNS;
}

int child_kill(struct child *child)
{
	VFIO_ASSERT_EQ(kill(child->pid, SIGKILL), 0);
	return child_wait(child);
}

void say(char byte)
{
	VFIO_ASSERT_EQ(write(self.say, &byte, 1), 1);
}

void wait_for_go(void)
{
	char byte;

	VFIO_ASSERT_GE(read(self.go, &byte, 1), 0);
}

struct child_files child_files(void)
{
	return self;
}

void child_take_files(struct child_files files)
{
	self = files;
}
