/** Writes files completely or not at all. */
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ReportError } from '../units/errors.js'

/** Reasons for an errno, as somebody who gave a path understands them. */
const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'it exists and is not a directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'it is a directory',
  ENAMETOOLONG: 'the name is too long'
}

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
  const cause = error as NodeJS.ErrnoException
  const code = cause.code ?? 'UNKNOWN'
  const reason = Object.hasOwn(REASONS, code) ? `${REASONS[code]} (${code})` : cause.message
  return new ReportError(`${what}: ${reason}`, code, cause.syscall ?? syscall, error)
}
