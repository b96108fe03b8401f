// SPDX-License-Identifier: GPL-2.0
/*
 * Sends echo requests with a pattern through the network card and checks what
 * comes back. Between bursts it holds still, so that the host can take pages.
 * Settings: rounds, packets (of each round, all under way at the same time).
 * Waits for "go" before each round; the address of the host is 10.0.0.1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "guest.h"

#define PAYLOAD 1400

struct packet {
	struct icmphdr header;
	uint16_t payload[PAYLOAD / 2];
};

static void set_address(struct ifreq *request, const char *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&request->ifr_addr;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = inet_addr(address);
}

static void bring_up(const char *address)
{
	struct ifreq request = { .ifr_name = "eth0" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	set_address(&request, address);
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request))
		die("address");
	set_address(&request, "255.255.255.0");
	if (ioctl(fd, SIOCSIFNETMASK, &request))
		die("netmask");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		die("link_up");
	close(fd);
}

static uint16_t checksum(const void *data, size_t size)
{
	const uint16_t *word = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < size / 2; i++)
		sum += word[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return ~(sum + (sum >> 16));
}

static void fill(struct packet *packet, uint16_t sequence)
{
	memset(packet, 0, sizeof(*packet));
	packet->header.type = ICMP_ECHO;
	packet->header.un.echo.sequence = sequence;
	for (size_t i = 0; i < PAYLOAD / 2; i++)
		packet->payload[i] = sequence * 31 + i;
	packet->header.checksum = checksum(packet, sizeof(*packet));
}

static void send_burst(int fd, unsigned long count, uint16_t first)
{
	struct sockaddr_in host = { .sin_family = AF_INET,
				    .sin_addr.s_addr = inet_addr("10.0.0.1") };
	struct packet packet;

	for (unsigned long i = 0; i < count; i++) {
		fill(&packet, first + i);
		sendto(fd, &packet, sizeof(packet), 0, (void *)&host, sizeof(host));
	}
}

/* How many right answers came; mismatches counts the wrong ones. */
static unsigned long receive_burst(int fd, unsigned long count, uint16_t first,
				   unsigned long *mismatches)
{
	char frame[sizeof(struct iphdr) + sizeof(struct packet) + 64];
	unsigned long answers = 0;
	struct packet expected, *got;
	ssize_t size;

	while (answers < count && (size = recv(fd, frame, sizeof(frame), 0)) > 0) {
		got = (void *)(frame + sizeof(struct iphdr));
		if (size < (ssize_t)(sizeof(struct iphdr) + sizeof(*got)) ||
		    got->header.type != ICMP_ECHOREPLY)
			continue;
		if ((uint16_t)(got->header.un.echo.sequence - first) >= count)
			continue;
		fill(&expected, got->header.un.echo.sequence);
		answers++;
		*mismatches += !!memcmp(got->payload, expected.payload, PAYLOAD);
	}
	return answers;
}

void work_net(void)
{
	unsigned long rounds = setting("rounds", 4), count = setting("packets", 32);
	unsigned long sent = 0, answers = 0, mismatches = 0;
	struct timeval patience = { .tv_sec = 3 };
	int fd;

	bring_up("10.0.0.2");
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
				 sizeof(patience)))
		die("socket");
	report("phase=ready");
	for (unsigned long round = 0; round < rounds; round++) {
		wait_for("go");
		send_burst(fd, count, sent);
		answers += receive_burst(fd, count, sent, &mismatches);
		sent += count;
		report("round=%lu packets_sent=%lu packets_answered=%lu packet_mismatches=%lu",
		       round + 1, sent, answers, mismatches);
	}
	report("phase=checked");
	wait_for("end");
}
