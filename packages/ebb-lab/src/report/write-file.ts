/** Writes files completely or not at all. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { codeOf, ReportError, reasonOf } from '../units/errors.js'

/**
 * Makes a folder and the folders above it.
 *
 * @throws ReportError with the errno
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await makeWithParents(path)
  } catch (error) {
    throw failure(`cannot make the directory ${path}`, error, 'mkdir')
  }
}

/**
 * Writes a temporary file beside the file and renames it, so that no reader sees half of it.
 *
 * @throws ReportError with the errno
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    await writeFile(beside, text, { flag: 'wx' })
    await rename(beside, path)
  } catch (error) {
    // The first error is the cause. There may be nothing to remove.
    await rm(beside, { force: true }).catch(() => {})
    throw failure(`cannot write ${path}`, error, 'write')
  }
}

/**
 * Makes folders like `mkdir` with `recursive`, which never returns if a file system reports ENOENT below a folder that
 * exists, as /proc does.
 */
async function makeWithParents(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return
    const parent = dirname(path)
    if (code !== 'ENOENT' || parent === path || (await isDirectory(parent))) throw error
    await makeWithParents(parent)
    await mkdir(path)
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false
  )
}

function failure(what: string, error: unknown, syscall: string): ReportError {
  const code = codeOf(error)
  const reason = code === 'EEXIST' ? 'it exists and is not a directory (EEXIST)' : reasonOf(error)
  return new ReportError(`${what}: ${reason}`, code, (error as NodeJS.ErrnoException).syscall ?? syscall, error)
}

/** Files of a report. */
export interface ReportFiles {
  /** Names and contents, HTML or SVG. */
  contents: readonly (readonly [name: string, text: string])[]
  /** What identifies the recordings that the report shows. */
  recordings: readonly string[]
  /** Whether to replace files that show other recordings. Default: true. */
  overwrite: boolean | undefined
}

/**
 * Makes a folder and writes the files of a report into it, each completely. Returns their paths, in the order given.
 * Always replaces files that show the same recordings.
 *
 * @throws ReportError (`EEXIST`) before anything is written if a file shows anything else and may not be replaced; else
 *   with the errno
 */
export async function writeReport(folder: string, { contents, recordings, overwrite }: ReportFiles): Promise<string[]> {
  await makeDirectory(folder)
  const mark = `<!-- ebb-report:${createHash('sha256').update(recordings.toSorted().join()).digest('hex').slice(0, 16)} -->`
  const files = contents.map(([name, text]) => ({
    path: join(folder, name),
    text: text.replace(/(?=<\/(?:html|svg)>\s*$)/, mark)
  }))
  if (overwrite === false) {
    for (const { path } of files) {
      const old = await readFile(path, 'utf8').catch(() => null)
      if (old !== null && !old.includes(mark)) throw taken(path, 'shows other recordings')
    }
  }
  for (const { path, text } of files) await writeWhole(path, text)
  return files.map(({ path }) => path)
}

/**
 * Checks that files do not exist.
 *
 * @throws ReportError (`EEXIST`) if one does
 */
export function checkFree(paths: readonly string[]): void {
  const path = paths.find((one) => existsSync(one))
  if (path !== undefined) throw taken(path, 'exists')
}

function taken(path: string, why: string): ReportError {
  return new ReportError(
    `${path} ${why}: give another directory with --out, or add --overwrite to replace it`,
    'EEXIST'
  )
}
