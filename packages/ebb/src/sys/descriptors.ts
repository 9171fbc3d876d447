/** How many descriptors this process may have. */
import * as libc from './libc.js'

/** What no process has more of. */
const MOST = 2 ** 31

/**
 * The soft limit of `RLIMIT_NOFILE`. Node raises it to the hard one at start, so this is all that there is. {@link MOST}, where the
 * kernel cannot be asked.
 */
export function descriptorLimit(): number {
  if (libc.unsupported !== undefined) return MOST
  const limit = new BigUint64Array(2)
  libc.check(libc.getrlimit(libc.RLIMIT_NOFILE, libc.addressOf(limit)), 'getrlimit')
  // RLIM_INFINITY is 2^64 - 1.
  return Math.min(Number(limit[0]), MOST)
}
