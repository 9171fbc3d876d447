/** How many descriptors this process may have. */
import * as libc from './libc.js'

/**
 * The soft limit of `RLIMIT_NOFILE`. Node raises it to the hard one at start, so this is all that there is.
 */
export function descriptorLimit(): number {
  const limit = new BigUint64Array(2)
  libc.check(libc.getrlimit(libc.RLIMIT_NOFILE, libc.addressOf(limit)), 'getrlimit')
  // RLIM_INFINITY is 2^64 - 1; no process has more than 2^31 descriptors.
  return Math.min(Number(limit[0]), 2 ** 31)
}
