/** Limits that a verdict is checked against. */
import { clientWord } from './clients.js'
import type { Verdict } from './verdict.js'

/** Limits for {@link broken}. A limit that is left out is not checked. */
export interface Limits {
  /** Highest retention, kept / need. */
  maxRetention?: number
  /** Highest footprint, bytes per connection. */
  maxFootprint?: number
  /** Longest release time, ms. */
  maxRelease?: number
}

/** How a figure is written. */
interface Unit {
  /** How many of the figure's own unit make one of the unit that is shown. */
  scale: number
  digits: number
  name: string
}

const RATIO: Unit = { scale: 1, digits: 2, name: '' }
const SECONDS: Unit = { scale: 1000, digits: 2, name: ' s' }

/** Returns one sentence for each limit that the verdict breaks. A figure that is not known breaks its limit. */
export function broken(verdict: Verdict, limits: Limits): string[] {
  const { name, retention, footprint, release, protocol } = verdict
  const bytes: Unit = { scale: 1, digits: 0, name: ` B per ${clientWord(protocol)}` }
  const sentences = [
    check('retention', retention, limits.maxRetention, RATIO),
    check('footprint', footprint, limits.maxFootprint, bytes),
    check('release time', release, limits.maxRelease, SECONDS)
  ]
  return sentences.filter((sentence) => sentence !== null).map((sentence) => `${name}: ${sentence}`)
}

/** Returns what is broken, or null if the limit is met. */
function check(figure: string, value: number | null, limit: number | undefined, unit: Unit): string | null {
  if (limit === undefined) return null
  const shown = numberIn(unit, limit, unit.digits)
  if (value === null) return `${figure} is not known, so it cannot be compared with the limit of ${shown}.`
  // Written this way round, a limit of NaN is broken.
  if (value <= limit) return null
  const what = value === Infinity ? 'memory never went back' : `${figure} is ${distinct(unit, value, limit)}`
  return `${what}, the limit is ${shown}.`
}

function numberIn(unit: Unit, value: number, digits: number): string {
  return `${(value / unit.scale).toFixed(digits)}${unit.name}`
}

/** Returns the value with enough digits to differ from the limit, never "1.10, the limit is 1.10". */
function distinct(unit: Unit, value: number, limit: number): string {
  let { digits } = unit
  while (digits < 12 && (value / unit.scale).toFixed(digits) === (limit / unit.scale).toFixed(digits)) digits++
  return numberIn(unit, value, digits)
}
