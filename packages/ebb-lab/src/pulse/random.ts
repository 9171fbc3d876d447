/** Random numbers from a seed, so that a load can be repeated. */

/**
 * Returns a random number generator. The same seed gives the same numbers on every machine.
 *
 * The algorithm is Mulberry32 by Tommy Ettinger (public domain,
 * https://gist.github.com/tommyettinger/46a874533244883189143505d203312c). Its state is one 32-bit word, which is good
 * enough to spread loads.
 *
 * @param seed a number of which the lower 32 bits are used
 * @returns a function that returns the next number, at least 0 and below 1
 */
export function randomFrom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let word = Math.imul(state ^ (state >>> 15), 1 | state)
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Returns a random time in milliseconds until the next of events that happen `rate` times per second on average. */
export function exponential(random: () => number, rate: number): number {
  return (-Math.log(1 - random()) / rate) * 1000
}
