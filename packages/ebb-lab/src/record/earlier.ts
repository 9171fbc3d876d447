/**
 * Recordings that an earlier experiment left in a folder. `ebb report` takes recordings with the same name for runs of
 * one experiment, so a new experiment with fewer runs removes them.
 */
import { lstat, open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'

/** What follows the name of a recording: `.3` for one of several runs, `.control` for a control run. */
const SUFFIX = /^(?:\.\d{1,3})?(?:\.control)?\.ndjson$/
/** A header is shorter than this, bytes: its longest part is a command line. */
const LONGEST_HEADER = 1_048_576

/** The recordings that one experiment after the other writes into a folder. */
export interface Series {
  /** Type of their first line: `header` for a server, `box` for a box. */
  type: 'header' | 'box'
  folder: string
  /** File name without number and extension: `net`. */
  file: string
  /** Name in their headers; undefined for any. */
  name?: string
}

/**
 * Returns the paths of the recordings of a series. Files that are no such recordings are left out.
 *
 * @throws RecordError with the errno if the folder cannot be read
 */
export async function recordingsOf({ type, folder, file, name }: Series): Promise<string[]> {
  const paths = (await listed(folder))
    .filter((entry) => entry.startsWith(file) && SUFFIX.test(entry.slice(file.length)))
    .map((entry) => join(folder, entry))
  const headers = await Promise.all(paths.map(headerOf))
  return paths.filter((_, i) => headers[i]?.type === type && (name === undefined || headers[i]?.name === name))
}

/**
 * Removes the recordings of a series, except one.
 *
 * @param present path of the recording that has just begun
 * @throws RecordError with the errno
 */
export async function removeEarlier(series: Omit<Series, 'folder'>, present: string): Promise<void> {
  const folder = dirname(present)
  for (const path of await recordingsOf({ ...series, folder })) {
    if (basename(path) === basename(present)) continue
    try {
      await rm(path)
    } catch (error) {
      throw new RecordError(
        `cannot remove ${path}, a recording of an earlier run: ${reasonOf(error)}`,
        codeOf(error),
        'unlink',
        error
      )
    }
  }
}

async function listed(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    throw new RecordError(`cannot read the folder ${folder}: ${reasonOf(error)}`, codeOf(error), 'scandir', error)
  }
}

/** Returns the first line of a file as an object; undefined if it is none. Never waits for a pipe. */
async function headerOf(path: string): Promise<{ type?: unknown; name?: unknown } | undefined> {
  try {
    if (!(await lstat(path)).isFile()) return undefined
    const file = await open(path)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST_HEADER), 0, LONGEST_HEADER, 0)
      const [line = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1)
      const header: unknown = JSON.parse(line)
      return typeof header === 'object' && header !== null ? header : undefined
    } finally {
      await file.close()
    }
  } catch {
    // It is not JSON, cannot be read, or is gone.
    return undefined
  }
}
