// SPDX-License-Identifier: Apache-2.0
// The floor: what the kernel alone takes for a router. No interpreter, no decisions; every message comes ready made.
//
// Its argument is the folder of the pins. Commands on standard input, in native byte order; each is answered by its nanoseconds (uint64):
//   'b' slot, sizes of three batches, the batches: make namespace, sockets and settings, pin it, send the batches
//       (switch namespace, inside, nf_tables); FD_MARK in the first stands for the descriptor of the new namespace.
//   's' slot, sizes of two batches, the batches: send them (inside, nf_tables; an empty one is left out)
//   'd' slot: close the sockets, drop the pin; the kernel takes the rest apart
// Sources: unshare(2), setns(2), mount(2), netlink(7), rtnetlink(7), linux/netlink.h.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FD_MARK 0x7f6b5a49u
#define SLOTS 8192

static const char *const SETTINGS[][2] = {
    {"ipv4/ip_forward", "1"},          {"ipv4/conf/all/arp_ignore", "1"},
    {"ipv4/conf/all/arp_announce", "2"}, {"ipv6/conf/all/forwarding", "1"},
    {"ipv4/conf/all/promote_secondaries", "1"}, {"ipv6/conf/default/addr_gen_mode", "1"},
    {"netfilter/nf_conntrack_tcp_be_liberal", "1"},
};

struct slot { int fd, route, rules; };
static struct slot slots[SLOTS];
static char batch[3][1 << 20];

static void fail(const char *what) { perror(what); exit(1); }

static void take(void *into, size_t size)
{
    if (size && fread(into, size, 1, stdin) != 1)
        exit(0);
}

static int netlink(int protocol)
{
    int one = 1, s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    if (s < 0 || bind(s, (void *)&address, sizeof address))
        fail("netlink");
    setsockopt(s, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
    return s;
}

// Send a batch and wait for the acknowledgement that its last message but a batch end asks for.
static void carry_out(int s, const char *body, uint32_t size)
{
    static char answer[1 << 16];
    uint32_t last = 0;
    for (uint32_t at = 0; at < size;) {
        const struct nlmsghdr *one = (const void *)(body + at);
        if (one->nlmsg_flags & NLM_F_ACK)
            last = one->nlmsg_seq;
        at += NLMSG_ALIGN(one->nlmsg_len);
    }
    if (size && send(s, body, size, 0) < 0)
        fail("send");
    while (size) {
        int got = recv(s, answer, sizeof answer, 0);
        if (got < 0)
            fail("recv");
        for (struct nlmsghdr *one = (void *)answer; NLMSG_OK(one, got); one = NLMSG_NEXT(one, got)) {
            int error = one->nlmsg_type == NLMSG_ERROR ? *(int *)NLMSG_DATA(one) : 0;
            if (error) {
                fprintf(stderr, "floor: message %u: %s\n", one->nlmsg_seq, strerror(-error));
                exit(1);
            }
            if (one->nlmsg_type == NLMSG_ERROR && one->nlmsg_seq == last)
                return;
        }
    }
}

static void set(const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        fail(path);
    close(fd);
}

static const char *folder;

static const char *pin(uint32_t slot)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%u", folder, slot);
    return path;
}

static void make(struct slot *one, uint32_t slot, int home)
{
    if (unshare(CLONE_NEWNET))
        fail("unshare");
    one->route = netlink(NETLINK_ROUTE);
    one->rules = netlink(NETLINK_NETFILTER);
    one->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++)
        set(SETTINGS[i][0], SETTINGS[i][1]);
    close(open(pin(slot), O_CREAT | O_RDONLY, 0444));
    if (mount("/proc/thread-self/ns/net", pin(slot), "none", MS_BIND, 0) || setns(home, CLONE_NEWNET))
        fail("pin");
}

static void name_namespace(char *body, uint32_t size, uint32_t fd)
{
    for (uint32_t at = 0; at + 4 <= size; at += 4)
        if (*(uint32_t *)(body + at) == FD_MARK)
            *(uint32_t *)(body + at) = fd;
}

static void drop(struct slot *one, uint32_t slot)
{
    close(one->route);
    close(one->rules);
    close(one->fd);
    if (umount2(pin(slot), MNT_DETACH) || unlink(pin(slot)))
        fail("unpin");
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    folder = arguments[1];
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), host = netlink(NETLINK_ROUTE);
    for (;;) {
        char command;
        uint32_t slot, size[3] = {0};
        struct timespec start, end;
        take(&command, 1);
        take(&slot, sizeof slot);
        int batches = command == 'b' ? 3 : command == 's' ? 2 : 0;
        take(size, batches * sizeof *size);
        for (int i = 0; i < batches; i++)
            take(batch[i], size[i]);
        struct slot *one = &slots[slot % SLOTS];
        clock_gettime(CLOCK_MONOTONIC, &start);
        if (command == 'b') {
            make(one, slot, home);
            name_namespace(batch[0], size[0], one->fd);
            carry_out(host, batch[0], size[0]);
            carry_out(one->route, batch[1], size[1]);
            carry_out(one->rules, batch[2], size[2]);
        } else if (command == 's') {
            carry_out(one->route, batch[0], size[0]);
            carry_out(one->rules, batch[1], size[1]);
        } else {
            drop(one, slot);
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        uint64_t took = (end.tv_sec - start.tv_sec) * 1000000000ull + end.tv_nsec - start.tv_nsec;
        if (write(1, &took, sizeof took) != sizeof took)
            return 0;
    }
}
