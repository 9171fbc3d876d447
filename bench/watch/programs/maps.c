/*
 * maps FILE MB: maps, touches and unmaps 256 KB again and again, and holds MB megabytes in small pages. FILE has the
 * number of its rounds.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *map(size_t size) {
  return mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(int count, char **arguments) {
  if (count < 3) return 1;
  int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || ftruncate(file, 8) < 0) return 1;
  volatile uint64_t *rounds = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  size_t held = (size_t)atoi(arguments[2]) << 20;
  char *memory = map(held);
  madvise(memory, held, MADV_NOHUGEPAGE);
  memset(memory, 1, held);
  for (;; ++*rounds) {
    char *piece = map(1 << 18);
    for (int page = 0; page < 64; page++) piece[page << 12] = 1;
    munmap(piece, 1 << 18);
  }
}
