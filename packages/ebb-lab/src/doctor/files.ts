/** Files of `/proc` and `/sys` that may be missing, or closed to this user. */
import fs from 'node:fs'

/** Returns the text of a file; an empty text if it cannot be read. */
export function readOrNothing(file: string, encoding: 'latin1' | 'utf8' = 'latin1'): string {
  try {
    return fs.readFileSync(file, encoding)
  } catch {
    return ''
  }
}

/** Returns where a link leads; an empty text if it cannot be read. */
export function linkOrNothing(file: string): string {
  try {
    return fs.readlinkSync(file)
  } catch {
    return ''
  }
}
