/** Columns that a line of prose or of a comment may take. */
export const WIDTH = 120

/** A word from this length on (an address, a link) may stick out: it cannot be broken. Nothing may follow it. */
const UNBREAKABLE = 70

/** Tells whether a line is wider than {@link WIDTH} although it could be broken. */
export function isTooWide(line) {
  if (line.length <= WIDTH || [...line].length <= WIDTH) return false
  const end = line.search(new RegExp(`\\S{${UNBREAKABLE},}\\s*$`))
  return end === -1 || [...line.slice(0, end)].length > WIDTH
}
