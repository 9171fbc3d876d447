/** Descriptors of this process: how many are open, and how many may be. */
import fs from 'node:fs'
import { RLIMIT_NOFILE } from './constants.js'
import * as libc from './libc.js'

/** More descriptors than any process can have. */
const UNLIMITED = 2 ** 31

/**
 * Returns the soft limit of `RLIMIT_NOFILE`, which Node raises to the hard limit when it starts. Returns 2^31 for no
 * limit and where the C library cannot be called.
 *
 * @throws {SystemError}
 */
export function descriptorLimit(): number {
  if (libc.unsupported !== undefined) return UNLIMITED
  const limit = new BigUint64Array(2)
  libc.check(libc.getrlimit(RLIMIT_NOFILE, libc.addressOf(limit)), 'getrlimit')
  // RLIM_INFINITY is 2^64 - 1.
  return Math.min(Number(limit[0]), UNLIMITED)
}

const AT_FDCWD = -100
/** Mask of `statx` for the size alone. */
const STATX_SIZE = 0x200
/** `struct statx` has 256 bytes; `stx_size` is at offset 40. */
const stat = Buffer.alloc(256)
const statAddress = libc.addressOf(stat)
const SIZE_AT = 40

/**
 * Returns the number of open descriptors of this process, or -1 where the kernel does not count them: before Linux 6.2,
 * the size of `/proc/self/fd` is 0. Makes no object and takes no descriptor.
 */
export function openDescriptors(): number {
  if (libc.statx === undefined) return fs.statSync('/proc/self/fd').size || -1
  if (libc.statx(AT_FDCWD, '/proc/self/fd', 0, STATX_SIZE, statAddress) === -1) return -1
  return stat.readUInt32LE(SIZE_AT) || -1
}
