/** Caches of this library that a release empties. */

const trims = new Set<() => void>()

/**
 * Registers a function that frees memory which is kept only to be reused. Each release of this thread calls it before
 * the collection. Returns a function that unregisters it.
 */
export function onTrim(trim: () => void): () => void {
  trims.add(trim)
  return () => trims.delete(trim)
}

/** Calls all registered functions. */
export function trimAll(): void {
  for (const trim of trims) trim()
}
