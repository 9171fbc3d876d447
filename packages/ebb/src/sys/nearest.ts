/** Finds the name that a misspelt one was probably meant to be. */

/**
 * Returns the name that is most like `word`; undefined if none is. Compares letters and digits only, without case. One
 * letter in three may be missing, added, wrong, or swapped with the next.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const wanted = lettersOf(word)
  let best: string | undefined
  let least = Math.max(1, Math.floor(wanted.length / 3)) + 1
  for (const name of names) {
    const count = distance(wanted, lettersOf(name))
    if (count < least) [best, least] = [name, count]
  }
  return best
}

function lettersOf(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]/g, '')
}

/** The number of changes between two texts: the optimal string alignment distance. */
function distance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let count = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        count = Math.min(count, (beforeLast[j - 2] ?? 0) + 1)
      }
      row.push(count)
    }
    beforeLast = last
    last = row
  }
  return last[b.length] ?? 0
}
