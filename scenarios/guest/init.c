// SPDX-License-Identifier: GPL-2.0
/* First process of a guest: mounts, runs the work that was asked for, ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static int port = 1;

/* One line on the serial port in one write, with the seconds since boot. */
void report(const char *format, ...)
{
	struct timespec now;
	char line[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 32, format, args);
	va_end(args);
	clock_gettime(CLOCK_BOOTTIME, &now);
	n += snprintf(line + n, 32, " t=%ld.%ld\n", (long)now.tv_sec,
		      now.tv_nsec / 100000000);
	if (write(port, line, n) != n)
		perror("report");
}

static void end(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void die(const char *what)
{
	report("phase=failed failed=%s errno=%d", what, errno);
	end();
}

/* Blocks until the host says the word on the serial port. */
void wait_for(const char *word)
{
	char said[32];
	size_t n = 0;

	while (read(port, &said[n], 1) == 1) {
		if (said[n] == '\n') {
			said[n] = 0;
			if (!strcmp(said, word))
				return;
			n = 0;
		} else if (n < sizeof(said) - 1) {
			n++;
		}
	}
	die("wait_for");
}

/* A number of the command line, whatever its base. */
unsigned long setting(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

/* Zeroed memory that is not touched yet; small pages only. */
void *new_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

static void open_port(void)
{
	struct termios raw;

	port = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0 || tcgetattr(port, &raw))
		die("ttyS1");
	cfmakeraw(&raw);
	if (tcsetattr(port, TCSANOW, &raw))
		die("ttyS1");
}

static void mount_all(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sys", "/sys", "sysfs", 0, NULL) ||
	    (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY))
		die("mount");
}

/* Does the kernel refuse to hibernate? It says so, if it knows how at all. */
static int hibernation_refused(void)
{
	char said[16] = "";
	int fd = open("/sys/power/disk", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, said, sizeof(said) - 1) < 0)
		die("/sys/power/disk");
	close(fd);
	return !strncmp(said, "[disabled]", 10);
}

int main(void)
{
	const char *work = getenv("work");

	mount_all();
	open_port();
	report("phase=up hibernation_refused=%d", hibernation_refused());
	if (!work || !strcmp(work, "idle"))
		for (;;)
			pause();
	else if (!strcmp(work, "disk"))
		work_disk();
	else if (!strcmp(work, "cold"))
		work_cold();
	else if (!strcmp(work, "hotplug"))
		work_hotplug();
	else if (!strcmp(work, "net"))
		work_net();
	else if (!strcmp(work, "kexec"))
		work_kexec();
	else if (!strcmp(work, "after"))
		work_after();
	else
		die(work);
	report("phase=done");
	end();
}
