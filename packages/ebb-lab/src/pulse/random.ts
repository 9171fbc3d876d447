/**
 * Random numbers from a seed: the same seed, the same numbers, on every machine. Mulberry32 by Tommy Ettinger (public domain,
 * https://gist.github.com/tommyettinger/46a874533244883189143505d203312c): one 32-bit word of state, good enough to spread loads.
 *
 * @param seed its lower 32 bits count
 * @returns a function that gives the next number, from 0 and below 1
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

/** A time until the next of events that happen `rate` times a second at random: milliseconds. */
export function exponential(random: () => number, rate: number): number {
  return (-Math.log(1 - random()) / rate) * 1000
}
