/** How much the figures of a server vary over several runs. */

/** A figure of a verdict that has a spread over several runs. */
export type SpreadFigure =
  | 'rest'
  | 'hold'
  | 'peak'
  | 'resident'
  | 'footprint'
  | 'kept'
  | 'need'
  | 'retention'
  | 'release'
  | 'longestPause'
  | 'cpuPerThousand'
  | 'connectsPerSecond'

/** All figures that have a spread. */
export const SPREAD_FIGURES: readonly SpreadFigure[] = Object.keys({
  rest: 0,
  hold: 0,
  peak: 0,
  resident: 0,
  footprint: 0,
  kept: 0,
  need: 0,
  retention: 0,
  release: 0,
  longestPause: 0,
  cpuPerThousand: 0,
  connectsPerSecond: 0
} satisfies Record<SpreadFigure, 0>) as SpreadFigure[]

/** The lowest and the highest value of a figure over several runs, in its own unit. */
export interface Range {
  low: number
  high: number
}

/** Ranges of the figures. A figure that no run knows has none. */
export type Spread = Partial<Record<SpreadFigure, Range>>
