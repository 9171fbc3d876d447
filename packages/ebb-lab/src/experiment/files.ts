/** The files that an experiment writes. */
import { join } from 'node:path'
import { recordingsOf } from '../record/earlier.js'
import { REPORT_FILES } from '../report/report.js'
import { checkFree, makeDirectory } from '../report/write-file.js'
import { numbered, type Repeat } from './repeats.js'

/** File systems allow 255 bytes; the rest is for `.control.ndjson` and a number. */
const LONGEST_NAME = 200

/** Returns a file name without extension for the name of each target. */
export function fileNamesOf(names: readonly string[]): string[] {
  const used = new Set<string>()
  return names.map((name) => fileName(name, used))
}

/** Returns a file name without extension for a name, different from all in `used`, and adds it to `used`. */
function fileName(name: string, used: Set<string>): string {
  const safe =
    name
      .replace(/[^\w.-]+/g, '_')
      .replace(/^\.+/, '')
      .slice(0, LONGEST_NAME) || 'server'
  let free = safe
  for (let i = 2; used.has(free) || used.has(`${free}.control`); i++) free = `${safe}-${i}`
  used.add(free).add(`${free}.control`)
  return free
}

/** What an experiment writes. */
interface Written {
  /** Names of the targets. */
  names: readonly string[]
  /** File names of their recordings, without number and extension. */
  files: readonly string[]
  repeats: readonly (Repeat | undefined)[]
}

/**
 * Makes the directory for the recordings and the report.
 *
 * @throws ReportError (`EEXIST`) if `overwrite` is false and it has files of these names, or earlier recordings of the
 *   targets
 */
export async function prepareDirectory(
  folder: string,
  { names, files, repeats }: Written,
  overwrite: boolean
): Promise<void> {
  await makeDirectory(folder)
  if (overwrite) return
  const written = files
    .flatMap((file) => repeats.map((repeat) => numbered(file, repeat)))
    .flatMap((name) => [`${name}.ndjson`, `${name}.control.ndjson`])
  checkFree([...written, ...REPORT_FILES].map((name) => join(folder, name)))
  for (const [i, file] of files.entries()) {
    checkFree(await recordingsOf({ type: 'header', folder, file, name: names[i] as string }))
  }
}
