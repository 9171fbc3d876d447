/** Rounds the figures of a verdict to the digits that they are measured to, for JSON. */
import type { Verdict } from './verdict.js'

/** Digits after the point of the figures that are not whole numbers. All others are bytes or counts. */
const DIGITS = {
  footprint: 1,
  retention: 4,
  release: 1,
  longestPause: 2,
  cpuPerThousand: 2,
  connectsPerSecond: 1
} as const satisfies Partial<Record<keyof Verdict, number>>

/** Returns the verdict with its figures and their spread rounded. The verdict itself stays exact, for limits. */
export function rounded(verdict: Verdict): Verdict {
  const { spread } = verdict
  return {
    ...roundedFigures(verdict),
    ...(spread !== undefined && {
      spread: Object.fromEntries(
        Object.entries(spread).map(([figure, { low, high }]) => [
          figure,
          { low: roundFigure(figure, low), high: roundFigure(figure, high) }
        ])
      )
    })
  }
}

function roundedFigures(verdict: Verdict): Verdict {
  const entries = Object.entries(verdict).map(([key, value]) => [
    key,
    typeof value === 'number' ? roundFigure(key, value) : value
  ])
  return Object.fromEntries(entries) as Verdict
}

/** Rounds a figure of a verdict to the digits that it is measured to. */
export function roundFigure(figure: string, value: number): number {
  return roundTo(value, Object.hasOwn(DIGITS, figure) ? DIGITS[figure as keyof typeof DIGITS] : 0)
}

/** Rounds a number to digits after the point. `Infinity` stays as it is. */
export function roundTo(value: number, digits: number): number {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) + 0 : value
}
