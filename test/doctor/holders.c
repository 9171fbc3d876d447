/*
 * Holds memory in exactly one way, which the first argument names, prints "ready" and waits for a signal.
 * Tests of `ebb doctor` compile it and expect the doctor to name the way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MB (1024UL * 1024UL)
#define THREADS 4
#define BLOCKS 12000
/* More than one heap of an arena holds, which is 64 MiB. */
#define MANY_BLOCKS 80000
#define BLOCK 1000

static pthread_barrier_t barrier;
static char variables[32 * MB];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void ready(void) {
  puts("ready");
  fflush(stdout);
}

static void *map(size_t size, int access, int flags) {
  void *at = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) fail("mmap");
  return at;
}

/* Takes many small blocks and frees all but every 50th. What is left keeps malloc from shrinking its heap. */
static void fragment(int count) {
  void **blocks = map(count * sizeof(void *), PROT_READ | PROT_WRITE, 0);
  for (int i = 0; i < count; i++) blocks[i] = memset(malloc(BLOCK), 1, BLOCK);
  for (int i = 0; i < count; i++) if (i % 50 != 0 && i != count - 1) free(blocks[i]);
}

static void *fragment_thread(void *count) {
  fragment((int)(long)count);
  pthread_barrier_wait(&barrier);
  pause();
  return NULL;
}

static void *stack_thread(void *unused) {
  volatile char local[2 * MB];
  for (size_t i = 0; i < sizeof local; i += 4096) local[i] = 1;
  pthread_barrier_wait(&barrier);
  pause();
  return (void *)(long)local[0];
}

static void threads(int count, void *(*run)(void *), long argument) {
  pthread_barrier_init(&barrier, NULL, count + 1);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)argument) != 0) fail("pthread_create");
  }
  pthread_barrier_wait(&barrier);
}

/* Connects `count` times to itself. Returns the accepted sockets in `ours`, the others in `theirs`. */
static void connections(int count, int *ours, int *theirs) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listening = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listening, (struct sockaddr *)&address, length) != 0 || listen(listening, count) != 0) fail("listen");
  getsockname(listening, (struct sockaddr *)&address, &length);
  for (int i = 0; i < count; i++) {
    theirs[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(theirs[i], (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    ours[i] = accept(listening, NULL, NULL);
    if (ours[i] < 0) fail("accept");
  }
}

int main(int argc, char **argv) {
  const char *way = argc > 1 ? argv[1] : "";
  int ours[100], theirs[100];
  if (strcmp(way, "arenas") == 0) {
    threads(THREADS, fragment_thread, BLOCKS);
  } else if (strcmp(way, "full") == 0) {
    threads(1, fragment_thread, MANY_BLOCKS);
  } else if (strcmp(way, "heap") == 0) {
    fragment(BLOCKS);
  } else if (strcmp(way, "stacks") == 0) {
    threads(16, stack_thread, 0);
  } else if (strcmp(way, "blocks") == 0) {
    for (int i = 0; i < 40; i++) memset(malloc(MB), 1, MB);
  } else if (strcmp(way, "code") == 0) {
    memset(map(32 * MB, PROT_READ | PROT_WRITE | PROT_EXEC, 0), 0xc3, 32 * MB);
  } else if (strcmp(way, "data") == 0) {
    memset(variables, 1, sizeof variables);
  } else if (strcmp(way, "huge") == 0) {
    char *at = (char *)(((unsigned long)map(66 * MB, PROT_READ | PROT_WRITE, 0) + 2 * MB - 1) & ~(2 * MB - 1));
    madvise(at, 64 * MB, MADV_HUGEPAGE);
    for (size_t i = 0; i < 64 * MB; i += 2 * MB) at[i] = 1;
  } else if (strcmp(way, "lazy") == 0) {
    char *at = map(32 * MB, PROT_READ | PROT_WRITE, 0);
    memset(at, 1, 32 * MB);
    madvise(at, 32 * MB, MADV_FREE);
  } else if (strcmp(way, "shared") == 0) {
    int fd = memfd_create("cache", 0);
    if (fd < 0 || ftruncate(fd, 32 * MB) != 0) fail("memfd_create");
    memset(mmap(NULL, 32 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 1, 32 * MB);
  } else if (strcmp(way, "unread") == 0) {
    static char bytes[64 * 1024];
    connections(100, ours, theirs);
    for (int i = 0; i < 100; i++) {
      fcntl(theirs[i], F_SETFL, O_NONBLOCK);
      ssize_t written = write(theirs[i], bytes, sizeof bytes);
      if (written < 0) fail("write");
      for (int arrived = 0; arrived < written;) if (ioctl(ours[i], FIONREAD, &arrived) != 0) fail("ioctl");
    }
  } else if (strcmp(way, "closewait") == 0) {
    connections(50, ours, theirs);
    for (int i = 0; i < 50; i++) {
      struct pollfd ended = {.fd = ours[i], .events = POLLRDHUP};
      close(theirs[i]);
      if (poll(&ended, 1, -1) != 1) fail("poll");
    }
  } else if (strcmp(way, "mappings") == 0) {
    /* Neighbours with other rights are never one mapping. */
    char *at = map(20000 * 4096UL, PROT_READ | PROT_WRITE, 0);
    for (long i = 0; i < 20000; i += 2) mprotect(at + i * 4096, 4096, PROT_READ);
    for (long i = 1; i < 20000; i += 2) at[i * 4096] = 1;
  } else if (strcmp(way, "growth") == 0) {
    ready();
    for (;;) {
      memset(malloc(64 * 1024), 1, 64 * 1024);
      usleep(1000);
    }
  } else {
    fprintf(stderr, "holders: no such way: %s\n", way);
    return 2;
  }
  ready();
  for (;;) pause();
}
