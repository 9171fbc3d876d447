/** Times and sizes of the command line. */
import { milliseconds } from '../sys/duration.js'
import { invalidArgument, shown } from '../sys/errors.js'

/** Longest time that a timer of Node can wait, ms. */
const LONGEST = 2 ** 31 - 1

/**
 * Converts a time to milliseconds. A plain number is seconds.
 *
 * @param what name of the option, for the error
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if it is neither, not above 0, or above 24 days
 */
export function parseTime(text: string, what: string): number {
  let time: number
  try {
    // A plain number gets its unit, so that one function judges all times.
    time = milliseconds(/^\d+(\.\d+)?$/.test(text) ? `${text}s` : text, what)
  } catch {
    throw invalidArgument(`${what} must be seconds, or a time with a unit such as 250ms, 5s or 2m, not ${shown(text)}`)
  }
  if (time <= LONGEST) return time
  throw invalidArgument(`${what} must be at most 24 days, not ${shown(text)}`)
}

const SIZES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30
}

/**
 * Converts a size to bytes.
 *
 * @param what name of the option, for the error
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a size with a unit
 */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)(\w+)$/.exec(text.trim())
  const bytes = match === null ? 0 : Number(match[1]) * (SIZES[match[2] as string] ?? 0)
  if (bytes >= 1) return bytes
  throw invalidArgument(`${what} must be a size with a unit such as 500MB, 1.5GB or 512MiB, not ${shown(text)}`)
}
