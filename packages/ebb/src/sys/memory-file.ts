/** Files in memory, without a name in the file system (`memfd_create`), which can be passed on as a descriptor. */
import fs from 'node:fs'
import { EbbError } from './errors.js'
import * as libc from './libc.js'

/** Nobody can change a file with these seals, or remove one of them. */
const SEALS = libc.F_SEAL_SEAL | libc.F_SEAL_SHRINK | libc.F_SEAL_GROW | libc.F_SEAL_WRITE

/**
 * Makes an empty file, close-on-exec.
 *
 * @param name for people: `/proc/PID/fd` shows it
 * @returns its descriptor, which the caller owns
 * @throws {SystemError} `EMFILE`, `ENOMEM`, ...; {EbbError} `ERR_EBB_UNSUPPORTED` if the C library cannot make one
 */
export function makeMemoryFile(name: string): number {
  if (libc.memfdCreate === undefined) {
    throw new EbbError('ERR_EBB_UNSUPPORTED', 'the C library of this process has no memfd_create')
  }
  return libc.check(libc.memfdCreate(name, libc.MFD_CLOEXEC | libc.MFD_ALLOW_SEALING), 'memfd_create')
}

/** Makes the content of a memory file final. @throws {SystemError} */
export function sealMemoryFile(fd: number): void {
  libc.check(libc.fcntl(fd, libc.F_ADD_SEALS, SEALS), 'fcntl')
}

/** Whether a descriptor is a memory file that nobody can change. */
export function isSealed(fd: number): boolean {
  const seals = libc.fcntl(fd, libc.F_GET_SEALS, 0)
  return seals !== -1 && (seals & SEALS) === SEALS
}

/** Writes all bytes at the end of what was written before. @throws {SystemError} */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at)
}
