/** The errors of this package. */
import type { constants } from 'node:os'
import type { getSystemErrorMap } from 'node:util'
import type { ErrorCode, WarningCode } from './error-codes.js'

/** Name of an error of the operating system: `EACCES`. */
export type Errno = keyof typeof constants.errno

/**
 * The base class of the errors that this package makes, except for invalid arguments (`TypeError`, `RangeError`) and
 * failed system calls ({@link SystemError}).
 */
export class EbbError extends Error {
  /** What went wrong, for programs: a code of `ERROR_CODES`, or the errno that the kernel returned. */
  readonly code: ErrorCode | Errno

  constructor(code: ErrorCode | Errno, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** An error of the operating system, in the form that Node's own APIs throw. */
export interface SystemError extends Error {
  /** Name of the errno: `EADDRINUSE`, `EMFILE`, ... */
  code: string
  /** Negative errno, as in libuv and Node. */
  errno: number
  /** Name of the system call that failed: `bind`, `accept4`, ... */
  syscall: string
}

/** An import of `node:util` would load `net` and `stream` in every process that has `ebb/park` in `NODE_OPTIONS`. */
function systemErrors(): ReturnType<typeof getSystemErrorMap> {
  return process.getBuiltinModule('node:util').getSystemErrorMap()
}

/**
 * Makes the error for a failed system call.
 *
 * @param number errno as the kernel gave it (positive)
 * @param what the object of the call, for the message: `127.0.0.1:80`
 */
export function systemError(syscall: string, number: number, what?: string): SystemError {
  const [code, message] = systemErrors().get(-number) ?? [`E${number}`, `error ${number}`]
  const error = new Error(`${syscall} ${code}: ${message}${what === undefined ? '' : `, ${what}`}`) as SystemError
  error.code = code
  error.errno = -number
  error.syscall = syscall
  return error
}

/** The error of an operation that this package refuses as the kernel would, without asking it. */
export class RefusedError extends EbbError {
  /** The system call that was not made: `read`. */
  readonly syscall: string

  constructor(code: ErrorCode, syscall: string, message: string) {
    super(code, message)
    this.syscall = syscall
  }
}

/** Adds a code to an error of a standard class, in the form that Node's own APIs throw. */
export function withCode<E extends Error>(error: E, code: ErrorCode): E & { code: ErrorCode } {
  return Object.assign(error, { code })
}

/** Makes the `TypeError` (`ERR_INVALID_ARG_VALUE`) for an argument whose value is not allowed. */
export function invalidArgument(message: string): TypeError {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_VALUE')
}

/** Returns a value as error messages show it: a string in quotes, an object by its class. Never throws. */
export function shown(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN)}...` : value)
    case 'bigint':
      return `${value}n`
    case 'function':
      return 'a function'
    case 'object':
      if (value === null) return 'null'
      return Array.isArray(value) ? 'an array' : `an object${classOf(value)}`
    default:
      return String(value)
  }
}

/** Characters of a string that a message shows. */
const LONGEST_SHOWN = 100

function classOf(value: object): string {
  const name: unknown = (value.constructor as { name?: unknown } | undefined)?.name
  return typeof name === 'string' && name !== '' && name !== 'Object' ? ` of class ${name}` : ''
}

/** Emits a process warning of this package. Warnings about a failed system call carry the call's code instead. */
export function warn(code: WarningCode, message: string): void {
  process.emitWarning(message, { code })
}

/** Returns the name of an errno: `errorName(111)` is `ECONNREFUSED`. */
export function errorName(number: number): string {
  return systemErrors().get(-number)?.[0] ?? `E${number}`
}
