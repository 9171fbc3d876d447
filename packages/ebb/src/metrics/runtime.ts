/** Metrics of the runtime and of the process, by OpenTelemetry's semantic conventions. */
import {
  constants,
  type EventLoopUtilization,
  type IntervalHistogram,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
  performance
} from 'node:perf_hooks'
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import type { Metric, Point, Reading } from '../govern/open-metrics.js'
import { self } from '../proc/process.js'
import { openDescriptors } from '../sys/descriptors.js'
import { outside } from '../sys/node/callback-scope.js'

const SPACE = 'v8js.heap.space.name'

/** Metrics of V8's heap, and the figure of `getHeapSpaceStatistics()` that each has. */
const SPACES = [
  ['v8js.memory.heap.space.size', 'space_size', 'Memory that V8 has reserved for a heap space.'],
  ['v8js.memory.heap.used', 'space_used_size', 'Memory in use in a heap space.'],
  ['v8js.memory.heap.space.available_size', 'space_available_size', 'Memory available in a heap space.'],
  ['v8js.memory.heap.space.physical_size', 'physical_space_size', 'Committed memory of a heap space.']
] as const

/** Metrics of the event loop's delay: figures of `monitorEventLoopDelay()`. */
const DELAYS: [name: string, help: string, read: (histogram: IntervalHistogram) => number][] = [
  ['min', 'Shortest delay', ({ min }) => min],
  ['max', 'Longest delay', ({ max }) => max],
  ['mean', 'Mean delay', ({ mean }) => mean],
  ['stddev', 'Standard deviation of the delay', ({ stddev }) => stddev],
  ['p50', 'Median delay', (histogram) => histogram.percentile(50)],
  ['p90', '90th percentile of the delay', (histogram) => histogram.percentile(90)],
  ['p99', '99th percentile of the delay', (histogram) => histogram.percentile(99)]
]

const NS = 1e9

/** Milliseconds between two measurements of the event loop's delay. */
const RESOLUTION = 10

/** The duration of garbage collections. */
export const GC_DURATION = {
  name: 'v8js.gc.duration',
  kind: 'histogram',
  unit: 's',
  help: 'Duration of garbage collections.',
  labels: ['v8js.gc.type'],
  bounds: [0.01, 0.1, 1, 10]
} as const satisfies Metric

const GC_TYPES = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb']
])

const EVENT_LOOP_TIME = {
  name: 'nodejs.eventloop.time',
  kind: 'counter',
  unit: 's',
  help: 'Time that the event loop was in each state.',
  labels: ['nodejs.eventloop.state']
} as const satisfies Metric

const EVENT_LOOP_UTILIZATION = {
  name: 'nodejs.eventloop.utilization',
  kind: 'gauge',
  unit: '1',
  help: 'Share of the time since the last collection of metrics in which the event loop was active.'
} as const satisfies Metric

const ACTIVE_RESOURCES = {
  name: 'v8js.resource.active',
  kind: 'updown',
  unit: '{resource}',
  help: 'Resources that keep the event loop alive, by type.',
  labels: ['v8js.resource.type']
} as const satisfies Metric

const MEMORY_USAGE = {
  name: 'process.memory.usage',
  kind: 'updown',
  unit: 'By',
  help: 'Resident memory of the process.'
} as const satisfies Metric

const EXTERNAL = {
  name: 'ebb.external',
  kind: 'updown',
  unit: 'By',
  help: "Memory outside of V8's heap that JavaScript objects keep, such as buffers."
} as const satisfies Metric

const CPU_TIME = {
  name: 'process.cpu.time',
  kind: 'counter',
  unit: 's',
  help: 'CPU time of all threads of the process.',
  labels: ['cpu.mode']
} as const satisfies Metric

const THREADS = {
  name: 'process.thread.count',
  kind: 'updown',
  unit: '{thread}',
  help: 'Threads of the process.'
} as const satisfies Metric

const DESCRIPTORS = {
  name: 'process.unix.file_descriptor.count',
  kind: 'updown',
  unit: '{file_descriptor}',
  help: 'Descriptors that the process has open.'
} as const satisfies Metric

const UPTIME = {
  name: 'process.uptime',
  kind: 'gauge',
  unit: 's',
  help: 'Time since the process was started.'
} as const satisfies Metric

/** Told of each garbage collection. @param seconds its duration */
export type GcListener = (seconds: number, type: string) => void

/** Measures garbage collections and the delay of the event loop from its construction on. */
export class Runtime {
  /** Told of each garbage collection. */
  readonly gcListeners = new Set<GcListener>()
  readonly #gc = new Map<string, { counts: number[]; sum: number }>()
  readonly #observer: PerformanceObserver
  readonly #delay: IntervalHistogram
  #utilization: EventLoopUtilization = performance.eventLoopUtilization()

  constructor() {
    for (const type of GC_TYPES.values())
      this.#gc.set(type, { counts: Array(GC_DURATION.bounds.length + 1).fill(0), sum: 0 })
    this.#observer = outside(() => {
      const observer = new PerformanceObserver((list) => this.#onCollections(list.getEntries()))
      observer.observe({ entryTypes: ['gc'] })
      return observer
    })
    this.#delay = monitorEventLoopDelay({ resolution: RESOLUTION })
    this.#delay.enable()
  }

  /** Stops measuring. What was measured stays. */
  stop(): void {
    this.#observer.disconnect()
    this.#delay.disable()
  }

  #onCollections(entries: PerformanceEntry[]): void {
    for (const { duration, detail } of entries as (PerformanceEntry & { detail?: { kind?: number } })[]) {
      const type = GC_TYPES.get(detail?.kind ?? 0)
      const known = type === undefined ? undefined : this.#gc.get(type)
      if (type === undefined || known === undefined) continue
      const seconds = duration / 1000
      const bucket = GC_DURATION.bounds.findIndex((bound) => seconds <= bound)
      const at = bucket === -1 ? GC_DURATION.bounds.length : bucket
      known.counts[at] = (known.counts[at] ?? 0) + 1
      known.sum += seconds
      for (const listener of this.gcListeners) listener(seconds, type)
    }
  }

  read(): Reading[] {
    this.#onCollections(this.#observer.takeRecords())
    return [
      ...readSpaces(),
      {
        metric: GC_DURATION,
        points: [...this.#gc].map(([type, { counts, sum }]) => ({
          labels: { 'v8js.gc.type': type },
          counts: [...counts],
          sum
        }))
      },
      ...this.#readDelay(),
      ...this.#readUtilization(),
      ...readProcess()
    ]
  }

  /** The delay since the last call. */
  #readDelay(): Reading[] {
    const histogram = this.#delay
    const isEmpty = histogram.count === 0
    const readings = DELAYS.map(
      ([name, what, read]): Reading => ({
        metric: {
          name: `nodejs.eventloop.delay.${name}`,
          kind: 'gauge',
          unit: 's',
          help: `${what} of the event loop since the last collection of metrics.`
        },
        points: isEmpty ? [] : [{ value: read(histogram) / NS }]
      })
    )
    histogram.reset()
    return readings
  }

  #readUtilization(): Reading[] {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization)
    this.#utilization = now
    const state = 'nodejs.eventloop.state'
    return [
      {
        metric: EVENT_LOOP_TIME,
        points: [
          { labels: { [state]: 'active' }, value: now.active / 1000 },
          { labels: { [state]: 'idle' }, value: now.idle / 1000 }
        ]
      },
      { metric: EVENT_LOOP_UTILIZATION, points: [{ value: utilization }] }
    ]
  }
}

function readSpaces(): Reading[] {
  const spaces = getHeapSpaceStatistics()
  return SPACES.map(([name, figure, help]) => ({
    metric: { name, kind: 'updown', unit: 'By', help, labels: [SPACE] },
    points: spaces.map((space) => ({ labels: { [SPACE]: space.space_name }, value: space[figure] }))
  }))
}

function readProcess(): Reading[] {
  const resources = new Map<string, number>()
  for (const type of process.getActiveResourcesInfo()) resources.set(type, (resources.get(type) ?? 0) + 1)
  const { user, system } = process.cpuUsage()
  return [
    {
      metric: ACTIVE_RESOURCES,
      points: [...resources].map(([type, value]) => ({ labels: { 'v8js.resource.type': type }, value }))
    },
    { metric: MEMORY_USAGE, points: [{ value: process.memoryUsage.rss() }] },
    { metric: EXTERNAL, points: [{ value: getHeapStatistics().external_memory }] },
    {
      metric: CPU_TIME,
      points: [
        { labels: { 'cpu.mode': 'user' }, value: user / 1e6 },
        { labels: { 'cpu.mode': 'system' }, value: system / 1e6 }
      ]
    },
    { metric: THREADS, points: threads() },
    { metric: DESCRIPTORS, points: descriptors() },
    { metric: UPTIME, points: [{ value: process.uptime() }] }
  ]
}

/** None where there is no `/proc`. */
function threads(): Point[] {
  try {
    return [{ value: self().threads }]
  } catch {
    return []
  }
}

/** None where the kernel does not count them. */
function descriptors(): Point[] {
  try {
    const value = openDescriptors()
    return value === -1 ? [] : [{ value }]
  } catch {
    return []
  }
}
