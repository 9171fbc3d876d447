/** The folder of the sockets of `ebb run`. */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a folder that only this user may enter, and the folders above it. One that exists stays as it is.
 *
 * `mkdirSync()` of Node 20 with `recursive` never returns where the kernel makes no folders, as in `/proc`.
 *
 * @throws {Error} ENOENT, EACCES, ENOTDIR, EROFS, ... if it cannot be made
 */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    const above = dirname(path)
    if (code !== 'ENOENT' || above === path) throw error
    makeFolder(above)
    mkdirSync(path, { mode: 0o700 })
  }
}
