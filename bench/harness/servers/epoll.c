/*
 * A TCP server in C that accepts connections, reads and drops what they send, and closes when the peer does. It keeps
 * nothing for a connection, so its figures are the lower bound for every other server.
 *
 * Build: gcc -O2 -o epoll epoll.c. Run: ./epoll PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512

static char dropped[65536];

static int fail(const char *what) {
  perror(what);
  return 1;
}

/* Accepts every queued connection, or as many as the descriptor limit allows. */
static void accept_all(int listener, int epoll) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == -1) close(fd);
  }
}

static void receive(int fd) {
  for (;;) {
    ssize_t received = recv(fd, dropped, sizeof dropped, 0);
    if (received > 0) continue;
    if (received == -1 && errno == EINTR) continue;
    if (received == -1 && errno == EAGAIN) return;
    close(fd);
    return;
  }
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s PORT\n", argv[0]);
    return 1;
  }
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener == -1) return fail("socket");
  int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) == -1) return fail("bind");
  if (listen(listener, 4096) == -1) return fail("listen");
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll == -1) return fail("epoll_create1");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == -1) return fail("epoll_ctl");
  struct epoll_event events[BATCH];
  for (;;) {
    int count = epoll_wait(epoll, events, BATCH, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.fd == listener) accept_all(listener, epoll);
      else receive(events[i].data.fd);
    }
  }
}
