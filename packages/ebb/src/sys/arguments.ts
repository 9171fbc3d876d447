/** Checks of the arguments of public functions. */
import { isUint8Array } from 'node:util/types'
import { invalidArgument, shown } from './errors.js'

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is not an object, or an array */
export function checkObject(value: unknown, what: string): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return
  throw invalidArgument(`${what} must be an object, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is neither a function nor undefined */
export function checkFunction(value: unknown, what: string): void {
  if (typeof value === 'function' || value === undefined) return
  throw invalidArgument(`${what} must be a function, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is not `true`, `false` or undefined */
export function checkBoolean(value: unknown, what: string): void {
  if (typeof value === 'boolean' || value === undefined) return
  throw invalidArgument(`${what} must be true or false, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is not a number from 0 on */
export function checkFromZero(value: unknown, what: string, unit: string): void {
  if (typeof value === 'number' && value >= 0) return
  throw invalidArgument(`${what} must be a number of ${unit} from 0 on, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is not a whole number above 0 */
export function checkPid(value: unknown): void {
  if (Number.isSafeInteger(value) && (value as number) > 0) return
  throw invalidArgument(`a process id must be a whole number above 0, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` is not a number */
export function checkId(value: unknown): void {
  if (typeof value !== 'number') throw invalidArgument(`id of a connection must be a number, not ${shown(value)}`)
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `value` lacks one of the methods; `message` says what is needed */
export function checkMethods(value: unknown, methods: readonly string[], message: string): void {
  const object = Object(value ?? {}) as Record<string, unknown>
  if (methods.every((name) => typeof object[name] === 'function')) return
  throw invalidArgument(`${message}, not ${shown(value)}`)
}

/**
 * Returns data to send as bytes; a string as UTF-8.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `data` is neither a string nor a `Uint8Array`
 */
export function toBytes(data: string | Uint8Array): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data)
  if (isUint8Array(data)) return data
  throw invalidArgument(`data to send must be a string or a Uint8Array, not ${shown(data)}`)
}
