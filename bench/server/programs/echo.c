/*
 * A TCP echo in C: one recv and one send for each message, and nothing kept for a connection. No server that makes
 * these calls for each message can take less CPU time.
 *
 * Build: gcc -O2 -o echo echo.c. Started by Child.run() of bench/harness/child.mjs: it tells its port, and answers each
 * order with its CPU time in ms.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512

static char bytes[65536];

static int fail(const char *what) {
  perror(what);
  return 1;
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1) close(fd);
}

static void accept_all(int listener, int epoll) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd != -1) watch(epoll, fd);
    else if (errno != EINTR && errno != ECONNABORTED) return;
  }
}

/* Messages are far smaller than a socket buffer, and each client has one under way: the kernel takes all of them. */
static void echo(int fd) {
  ssize_t received = recv(fd, bytes, sizeof bytes, 0);
  if (received == -1 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0 || send(fd, bytes, received, MSG_NOSIGNAL) != received) close(fd);
}

static double cpu(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

/* Answers the orders of the benchmark, each a line of JSON. Returns 0 when the benchmark has gone. */
static int answer(int channel) {
  char orders[4096];
  ssize_t length = read(channel, orders, sizeof orders - 1);
  if (length <= 0) return 0;
  orders[length] = 0;
  for (char *id = orders; (id = strstr(id, "\"id\":")) != NULL; id++) {
    dprintf(channel, "{\"id\":%d,\"result\":%.3f}\n", atoi(id + 5), cpu());
  }
  return 1;
}

int main(void) {
  const char *given = getenv("NODE_CHANNEL_FD");
  if (given == NULL) {
    fprintf(stderr, "echo: bench:server starts this program\n");
    return 1;
  }
  int channel = atoi(given);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener == -1) return fail("socket");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, sizeof address) == -1) return fail("bind");
  if (listen(listener, 4096) == -1) return fail("listen");
  if (getsockname(listener, (struct sockaddr *)&address, &length) == -1) return fail("getsockname");
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll == -1) return fail("epoll_create1");
  watch(epoll, listener);
  watch(epoll, channel);
  dprintf(channel, "{\"id\":0,\"result\":%d}\n", ntohs(address.sin_port));
  struct epoll_event events[BATCH];
  for (;;) {
    int count = epoll_wait(epoll, events, BATCH, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) accept_all(listener, epoll);
      else if (fd != channel) echo(fd);
      else if (!answer(channel)) return 0;
    }
  }
}
