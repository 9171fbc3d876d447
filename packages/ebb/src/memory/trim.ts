/** What else can be let go of in a give-back: those who keep memory at hand say how. */

const trims = new Set<() => void>()

/** Has `trim` called at each give-back of this thread, before the collection. Returns how to stop that. */
export function onTrim(trim: () => void): () => void {
  trims.add(trim)
  return () => trims.delete(trim)
}

export function trimAll(): void {
  for (const trim of trims) trim()
}
