/** Writes files completely or not at all. */
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
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

/**
 * Makes a folder and writes files into it, each completely. Returns their paths, in the order given.
 *
 * @throws ReportError with the errno
 */
export async function writeAll(
  folder: string,
  contents: readonly (readonly [name: string, text: string])[]
): Promise<string[]> {
  await makeDirectory(folder)
  const files: string[] = []
  for (const [name, text] of contents) {
    const path = join(folder, name)
    await writeWhole(path, text)
    files.push(path)
  }
  return files
}
