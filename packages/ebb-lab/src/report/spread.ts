/** How much the figures of a server vary over several runs. */

/** The figures of a verdict that have a spread over several runs. */
export const SPREAD_FIGURES = [
  'rest',
  'hold',
  'peak',
  'resident',
  'footprint',
  'kept',
  'need',
  'retention',
  'release',
  'longestPause',
  'cpuPerThousand',
  'connectsPerSecond'
] as const

/** A figure that has a spread. */
export type SpreadFigure = (typeof SPREAD_FIGURES)[number]

/** The lowest and the highest value of a figure over several runs, in its own unit. */
export interface Range {
  low: number
  high: number
}

/** Ranges of the figures. A figure that no run knows has none. */
export type Spread = Partial<Record<SpreadFigure, Range>>
