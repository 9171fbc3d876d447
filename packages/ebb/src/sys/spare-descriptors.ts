/** Whether there are descriptors left to load code with. Imports nothing of this library. */
import fs from 'node:fs'

/** Loading files and koffi takes fewer at a time. */
const ENOUGH = 8

/**
 * Whether files can be loaded now. Node remembers some failures to load a file, so it is better not to try without
 * descriptors.
 */
export function hasSpareDescriptors(): boolean {
  const opened: number[] = []
  try {
    while (opened.length < ENOUGH) opened.push(fs.openSync('/dev/null', 'r'))
    return true
  } catch (error) {
    // Another failure, such as a missing /dev, says nothing of descriptors.
    return !['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException).code ?? '')
  } finally {
    for (const fd of opened) fs.closeSync(fd)
  }
}
