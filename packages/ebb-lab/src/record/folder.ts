/** Finds the recordings of a folder. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, ReportError, reasonOf } from '../units/errors.js'

/**
 * Replaces each path that is a folder by the paths of the recordings in it (`*.ndjson`), in the order of their names.
 * Folders below it are left out.
 *
 * @throws ReportError `ERR_REPORT_EMPTY` if a folder has no recording; with the errno if it cannot be read
 */
export async function expandFolders(paths: readonly string[]): Promise<string[]> {
  const expanded: string[] = []
  for (const path of paths) {
    let names: string[]
    try {
      names = (await readdir(path)).filter((name) => name.endsWith('.ndjson'))
    } catch (error) {
      const code = codeOf(error)
      // Whoever reads the file reports best what is wrong with it.
      if (code !== 'ENOTDIR' && code !== 'ENOENT') {
        throw new ReportError(`cannot read the folder ${path}: ${reasonOf(error)}`, code, 'scandir', error)
      }
      expanded.push(path)
      continue
    }
    if (names.length === 0) {
      throw new ReportError(`the folder ${path} has no recording: give a folder with .ndjson files`, 'ERR_REPORT_EMPTY')
    }
    expanded.push(...names.sort().map((name) => join(path, name)))
  }
  return expanded
}
