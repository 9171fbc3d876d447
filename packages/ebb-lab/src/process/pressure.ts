/** Reads pressure stall information (PSI), of the machine or of a cgroup. */
import fs from 'node:fs'

/** Returns the share of the last 10 s in which some task waited for memory (`some avg10`); null if it is not known. */
export function readPressure(file: string): number | null {
  try {
    const percent = /^some avg10=([\d.]+)/m.exec(fs.readFileSync(file, 'latin1'))?.[1]
    return percent === undefined ? null : Number(percent) / 100
  } catch {
    return null
  }
}
