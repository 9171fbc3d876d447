/** Node-style errors for failed system calls. */
import { getSystemErrorMap } from 'node:util'

/** An error of the operating system, as Node's own APIs throw them. */
export interface SystemError extends Error {
  /** `EADDRINUSE`, `EMFILE`, ... */
  code: string
  /** Negative errno, as libuv and Node have it. */
  errno: number
  /** The call that failed: `bind`, `accept4`, ... */
  syscall: string
}

/**
 * The error for a failed call.
 *
 * @param number errno as the kernel gave it (positive)
 * @param what what was being done, and to what: `port 80 on 127.0.0.1`
 */
export function systemError(syscall: string, number: number, what?: string): SystemError {
  const [code, message] = getSystemErrorMap().get(-number) ?? [`E${number}`, `error ${number}`]
  const error = new Error(`${syscall} ${code}: ${message}${what === undefined ? '' : `, ${what}`}`) as SystemError
  error.code = code
  error.errno = -number
  error.syscall = syscall
  return error
}

/** The error for an argument that cannot be, as Node's own APIs throw it. */
export function invalidArgument(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

/** The name of an errno: `errorName(111)` is `ECONNREFUSED`. */
export function errorName(number: number): string {
  return getSystemErrorMap().get(-number)?.[0] ?? `E${number}`
}
