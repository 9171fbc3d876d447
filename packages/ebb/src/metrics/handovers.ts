/** Metrics of handovers. */
import type { Metric, Reading } from '../govern/open-metrics.js'
import { handoverTotals } from '../handover/events.js'

const HANDOVERS = {
  name: 'ebb.handovers',
  kind: 'counter',
  unit: '{handover}',
  help: 'Handovers of this process, as the old or the new one, by outcome.',
  labels: ['side', 'outcome']
} as const satisfies Metric

const CONNECTIONS = {
  name: 'ebb.handover.connections',
  kind: 'counter',
  unit: '{connection}',
  help: 'Connections that moved at once in handovers.',
  labels: ['side']
} as const satisfies Metric

const TIME = {
  name: 'ebb.handover.time',
  kind: 'counter',
  unit: 's',
  help: 'Time for which handovers blocked the old process, or until the new one had the connections.',
  labels: ['side']
} as const satisfies Metric

/** Returns the metrics of handovers with their values. */
export function readHandovers(): Reading[] {
  const sides = Object.entries(handoverTotals)
  return [
    {
      metric: HANDOVERS,
      points: sides.flatMap(([side, { done, failed }]) => [
        { labels: { side, outcome: 'done' }, value: done },
        { labels: { side, outcome: 'failed' }, value: failed }
      ])
    },
    { metric: CONNECTIONS, points: sides.map(([side, { connections }]) => ({ labels: { side }, value: connections })) },
    { metric: TIME, points: sides.map(([side, { ms }]) => ({ labels: { side }, value: ms / 1000 })) }
  ]
}
