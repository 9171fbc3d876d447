/** Parses times, counts, sizes and shares as people write them, on the command line and in files. */
import { LabError } from './errors.js'

/** A value that a person wrote cannot be used. The message says what is accepted. */
export class ValueError extends LabError {
  override readonly name = 'ValueError'

  constructor(message: string) {
    super(message, 'ERR_INVALID_ARG_VALUE')
  }
}

const WEEK = 7 * 24 * 3_600_000
const TIMES: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const SIZES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40
}

/**
 * Parses a time: a number of seconds, or a number with a unit (`250ms`, `4`, `2m`, `1.5h`). Returns milliseconds.
 *
 * @throws ValueError if the text is no time
 */
export function parseTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?$/.exec(text.trim())
  const ms = match === null ? Number.NaN : Number(match[1]) * (TIMES[match[2] ?? 's'] as number)
  if (!Number.isFinite(ms))
    throw new ValueError('a time is a number of seconds, or a number with a unit: 4, 0.5, 250ms, 2m, 1h')
  return ms
}

/** Parses a time above 0, as {@link parseTime} does. */
export function parsePositiveTime(text: string): number {
  const ms = parseTime(text)
  if (ms === 0) throw new ValueError('a time must be above 0: 0.5, 250ms, 2m')
  return ms
}

/** Parses a whole number of 0 or more; `10k` is 10,000. */
export function parseCount(text: string): number {
  const match = /^(\d[\d_]*)(k)?$/.exec(text.trim())
  const count = match === null ? Number.NaN : Number(match[1]?.replaceAll('_', '')) * (match[2] === 'k' ? 1000 : 1)
  if (!Number.isSafeInteger(count)) throw new ValueError('it must be a whole number of 0 or more: 1000, 10k')
  return count
}

/** Parses a whole number of 1 or more, as {@link parseCount} does. */
export function parsePositive(text: string): number {
  const count = parseCount(text)
  if (count === 0) throw new ValueError('it must be 1 or more')
  return count
}

/** Parses a count, or `forever`, which is `Infinity`. */
export function parsePulses(text: string): number {
  return text === 'forever' ? Number.POSITIVE_INFINITY : parseCount(text)
}

/** Parses a number above 0, with or without a fraction. */
export function parseNumber(text: string): number {
  const number = /^(\d+(?:\.\d+)?|\.\d+)$/.test(text.trim()) ? Number(text) : Number.NaN
  if (!(number > 0 && Number.isFinite(number))) throw new ValueError('it must be a number above 0')
  return number
}

/** Parses a size with its unit (`600MB`, `1.5GB`, `512MiB`). Returns bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*(\w+)$/.exec(text.trim())
  const unit = match?.[2] !== undefined && Object.hasOwn(SIZES, match[2]) ? SIZES[match[2]] : undefined
  const bytes = match === null || unit === undefined ? Number.NaN : Math.round(Number(match[1]) * unit)
  if (!(bytes > 0 && bytes <= Number.MAX_SAFE_INTEGER)) {
    throw new ValueError(
      'a size is a number above 0 with its unit: 600MB (1 MB is 1000 kB), 512MiB (1 MiB is 1024 KiB)'
    )
  }
  return bytes
}

/** Number of stages of a ramp: more are probably a mistake. */
const MOST_STAGES = 1000

/**
 * Parses the stages of a ramp: `10k/60s` rises to 10,000 within 60 s, `10k/60s,0/30s` then falls to 0 within 30 s.
 * Times are milliseconds.
 */
export function parseStages(text: string): { connections: number; over: number }[] {
  const stages = text.split(',').map((stage) => {
    const [count = '', time, ...rest] = stage.split('/')
    if (time === undefined || rest.length > 0) throw new ValueError('a ramp is COUNT/TIME, or several: 10k/60s,0/30s')
    const [connections, over] = [parseCount(count), parseTime(time)]
    if (connections > 10_000_000) throw new ValueError('it must be 10,000,000 connections at most')
    if (over > WEEK) throw new ValueError('it must be a week at most')
    return { connections, over }
  })
  if (stages.length > MOST_STAGES) throw new ValueError(`a ramp has ${MOST_STAGES} stages at most`)
  return stages
}

/** Parses a number per second above 0: `100`, `0.5/s`; `1k` is 1,000. */
export function parsePerSecond(text: string): number {
  const match = /^(\d[\d_]*(?:\.\d+)?|\.\d+)(k)?(?:\/s)?$/.exec(text.trim())
  const rate = match === null ? Number.NaN : Number(match[1]?.replaceAll('_', '')) * (match[2] === 'k' ? 1000 : 1)
  if (!(rate > 0 && Number.isFinite(rate))) throw new ValueError('it must be a number per second above 0: 0.5, 100, 1k')
  return rate
}

/** Parses a share, `10%` or `0.1`. Returns a number from 0 to 1. */
export function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(%)?$/.exec(text.trim())
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1)
  if (!(share <= 1)) throw new ValueError('a share is a percentage up to 100%, or a number from 0 to 1')
  return share
}
