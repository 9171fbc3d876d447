/** The live page of `ebb top`: the servers of a machine, their memory and their clients. */
import os from 'node:os'
import { LIGHT } from '../report/charts/palette.js'
import { relayout } from '../report/charts/picture.js'
import { chartBox, type Picture } from '../report/page/page.js'
import type { BoxSample, ServerSample } from '../top/sample.js'
import type { SortKey } from '../top/view/rows.js'
import { integer, megabytes } from '../units/format.js'
import { clean } from '../units/text.js'
import { GrowingCurve } from './growing-curve.js'
import { type Curve, type Panel, type Point, panelChart } from './panel.js'
import { liveBody, type Tile } from './texts.js'
import { type Curves, MOST_DRAWN, shortName, TopServers } from './top-servers.js'
import { topTable, topTexts } from './top-table.js'
import type { LiveView } from './view.js'

/** How the page begins. */
export interface TopRunOptions {
  /** Column that the table is sorted by at first. */
  sort: SortKey
  reversed: boolean
}

const TILES: readonly Tile[] = [
  { id: 'now-servers', term: 'servers' },
  { id: 'now-clients', term: 'clients' },
  { id: 'now-anonymous', term: 'anonymous' },
  { id: 'now-released', term: 'released' },
  { id: 'now-available', term: 'available' },
  { id: 'now-pressure', term: 'pressure' }
]

/** Collects samples of a machine, and returns what the page shows. */
export class TopRun {
  readonly #options: TopRunOptions
  readonly #servers = new TopServers()
  /** Memory pressure of the machine, in %. */
  readonly #pressure = new GrowingCurve()
  #first = 0
  #last: BoxSample | undefined
  #hasEnded = false
  /** What the page shows, until there is something new. */
  #view: LiveView | undefined

  constructor(options: TopRunOptions) {
    this.#options = options
  }

  /** Whether there is no sample yet. */
  get isEmpty(): boolean {
    return this.#last === undefined
  }

  addSample(sample: BoxSample): void {
    if (this.#last === undefined) this.#first = sample.time
    this.#last = sample
    this.#view = undefined
    const seconds = this.#seconds()
    this.#servers.add(seconds, sample.servers)
    this.#pressure.add(seconds, sample.pressure === null ? null : sample.pressure * 100)
  }

  /** Shows the last sample from now on. */
  finish(): void {
    this.#hasEnded = true
    this.#view = undefined
  }

  /** Returns what the page shows now. */
  view(): LiveView {
    this.#view ??= this.#newView()
    return this.#view
  }

  #newView(): LiveView {
    const host = clean(os.hostname())
    const { sort, reversed } = this.#options
    const charts = this.#charts(host)
    const table = topTable(this.#byPid(), sort, reversed)
    const [memory, ...others] = charts
    return {
      names: [host],
      heading: `The servers of ${host}`,
      lead: 'Processes that listen on a TCP or Unix socket, their clients and their memory.',
      body: `${liveBody(TILES, memory === undefined ? [] : [memory])}${table}${others.map(chartBox).join('')}`,
      layouts: [relayout(1, 1), relayout(1, 2)],
      charts,
      state: this.#hasEnded ? 'finished' : 'running',
      status: this.#status(host),
      texts: this.#texts(),
      labels: Object.fromEntries(charts.map(({ id, title }) => [id, `${title}. ${this.#words(id)}`]))
    }
  }

  #status(host: string): string {
    if (this.#hasEnded) return `The last sample of ${host}`
    return this.#last === undefined ? 'Looking for servers' : `Watching ${host}`
  }

  /** Returns the servers in an order that stays. */
  #byPid(): ServerSample[] {
    return (this.#last?.servers ?? []).toSorted((a, b) => a.pid - b.pid)
  }

  #seconds(): number {
    return Math.max(0, (this.#last?.time ?? 0) - this.#first) / 1000
  }

  #charts(host: string): Picture[] {
    const drawn = this.#servers.drawn
    const curves = (key: keyof Curves): Curve[] =>
      drawn.flatMap(({ name, color, type, curves }) => {
        const { points } = curves[key]
        return points.length === 0 ? [] : { name, points, color, type }
      })
    const released = curves('released')
    const pressure = [...machineCurve(this.#pressure.points), ...curves('pressure')]
    const panels: Panel[] = [
      {
        id: 'top-memory',
        title: 'Anonymous memory of the servers',
        caption:
          'Anonymous memory is what a spike costs. A curve ends with its server. ' +
          `The ${MOST_DRAWN} servers with the highest peaks are drawn.`,
        axes: [{ name: 'MB', unit: 'MB' }],
        curves: curves('anonymous')
      },
      {
        id: 'top-clients',
        title: 'Clients of the servers',
        caption: 'Established connections at the addresses of each server.',
        axes: [{ name: 'clients', unit: 'count' }],
        curves: curves('clients')
      }
    ]
    if (released.length > 0)
      panels.push({
        id: 'top-released',
        title: 'Memory that releases returned',
        caption: 'The sum of all releases since each server was started. Known of servers with ebb/auto.',
        axes: [{ name: 'MB', unit: 'MB' }],
        curves: released
      })
    if (pressure.length > 0)
      panels.push({
        id: 'top-pressure',
        title: 'Memory pressure',
        caption: 'Share of the last 10 s in which a task waited for memory: of the machine, and of cgroups of servers.',
        axes: [{ name: '%', unit: '%' }],
        curves: pressure
      })
    return panels.map((panel) => panelChart(panel, host, this.#seconds()))
  }

  #texts(): Record<string, string> {
    const sample = this.#last
    if (sample === undefined) return { phase: '' }
    const { servers, memory, pressure, hidden } = sample
    const released = servers.flatMap(({ inside }) => (inside === null ? [] : inside.released))
    return {
      phase: hiddenText(hidden),
      'now-servers': integer(servers.length),
      'now-clients': integer(sum(servers.map(({ clients }) => clients ?? 0))),
      'now-anonymous': megabytes(sum(servers.map(({ anonymous }) => anonymous))),
      'now-released': released.length === 0 ? '-' : megabytes(sum(released)),
      'now-available': `${(memory.available / 1e9).toFixed(1)} GB`,
      'now-pressure': pressure === null ? '-' : `${(pressure * 100).toFixed(1)} %`,
      ...Object.fromEntries(topTexts(servers))
    }
  }

  /** Returns what a chart shows now, in words. */
  #words(chart: string): string {
    const figures: Record<string, (server: ServerSample) => string | null> = {
      'top-memory': ({ anonymous }) => megabytes(anonymous),
      'top-clients': ({ clients }) => (clients === null ? null : integer(clients)),
      'top-released': ({ inside }) => (inside === null ? null : megabytes(inside.released)),
      'top-pressure': ({ pressure }) => (pressure === null ? null : `${(pressure * 100).toFixed(1)} %`)
    }
    return this.#byPid()
      .flatMap((server) => {
        const figure = figures[chart]?.(server) ?? null
        return figure === null ? [] : `${shortName(server)}: ${figure}`
      })
      .join(', ')
  }
}

function hiddenText(hidden: number): string {
  if (hidden === 0) return ''
  const sockets = hidden === 1 ? '1 listening socket belongs' : `${integer(hidden)} listening sockets belong`
  return `${sockets} to processes that you may not inspect.`
}

function machineCurve(points: Point[]): Curve[] {
  return points.length === 0 ? [] : [{ name: 'the machine', points, color: LIGHT.system, width: 1 }]
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
