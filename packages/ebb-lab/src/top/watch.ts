/** Samples all servers of a box. */
import { setTimeout as wait } from 'node:timers/promises'
import { readPressure } from '../process/pressure.js'
import { type Endpoint, Endpoints } from './endpoints.js'
import { machineMemory, ProcessViews, pressureFileOf } from './figures.js'
import { Finder, type FoundProcess } from './finder.js'
import { type AskInside, Insides, sumOf } from './inside.js'
import { askGovernor } from './inside-client.js'
import type { BoxSample, Listen, ProcessSample, ServerSample } from './sample.js'
import { PeakHistory } from './since-peak.js'

/** Options of {@link BoxWatch}. */
export interface BoxWatchOptions {
  /** Processes to show although they do not listen. */
  pids?: readonly number[]
  /** Returns whether a server is of interest. The others are counted, but not sampled. Default: all. */
  matches?: (server: ServerNames) => boolean
  /** Asks a process with `ebb/auto`; for tests. */
  ask?: AskInside
}

/** What the servers of a box are told apart by. */
export interface ServerNames {
  pids: readonly number[]
  /** Names and command lines of its processes. */
  names: readonly string[]
  listens: readonly Listen[]
}

/** Share of CPU time that looking up what is listened on, and counting connections, may take. */
const COUNT_SHARE = 0.01
/** Time that the first sample waits for answers of processes with `ebb/auto`, ms. */
const FIRST_ANSWERS = 500

const MACHINE_PRESSURE = '/proc/pressure/memory'

/** What is remembered of a server from one sample to the next. */
interface Memory {
  peaks: PeakHistory
  cpu: ReadonlyMap<number, number>
  at: number
  pressureFile: string | null
}

/**
 * Samples the servers of a box: the processes that listen on a TCP or Unix socket and that this user may inspect.
 *
 * @example
 * const watch = new BoxWatch()
 * for await (const { servers } of watch.samples(2000, signal)) console.log(servers.length)
 */
export class BoxWatch {
  readonly #matches: (server: ServerNames) => boolean
  readonly #endpoints = new Endpoints()
  readonly #finder: Finder
  readonly #views = new ProcessViews()
  readonly #insides: Insides
  readonly #memories = new Map<string, Memory>()
  #counts = new Map<string, number>()
  #nextCount = Number.NEGATIVE_INFINITY
  #isFirst = true

  constructor(options: BoxWatchOptions = {}) {
    const { pids = [], matches = () => true, ask = askGovernor } = options
    this.#matches = matches
    this.#finder = new Finder(pids)
    this.#insides = new Insides(ask)
  }

  /**
   * Takes a sample.
   *
   * @throws RecordError with the errno if this user may not know what is listened on
   */
  async sample(): Promise<BoxSample> {
    const now = performance.now()
    // Before the count, which looks into the network namespaces of all processes.
    this.#finder.list(now)
    this.#count(now)
    const servers = this.#finder.find(this.#endpoints.byLink, now).filter((server) => this.#matches(namesOf(server)))
    const pids = new Set(servers.flatMap((server) => server.map(({ pid }) => pid)))
    this.#views.keep(pids)
    const answering = servers.flat().filter((process) => answers(process, this.#endpoints.inside))
    this.#insides.refresh(new Set(answering.map(({ pid }) => pid)), now)
    if (this.#isFirst) await Promise.race([this.#insides.settled(), wait(FIRST_ANSWERS, undefined, { ref: false })])
    this.#isFirst = false
    const samples = servers.flatMap((server) => this.#sampleServer(server, now) ?? [])
    const ids = new Set(samples.map(({ id }) => id))
    for (const id of this.#memories.keys()) if (!ids.has(id)) this.#memories.delete(id)
    return {
      time: Date.now(),
      memory: machineMemory(),
      pressure: readPressure(MACHINE_PRESSURE),
      hidden: this.#finder.hidden(this.#endpoints.byLink),
      servers: samples
    }
  }

  /** Yields a sample now and then one every `every` ms, until `signal` is aborted. Closes the watch at the end. */
  async *samples(every: number, signal: AbortSignal): AsyncGenerator<BoxSample, void> {
    try {
      for (let next = performance.now(); !signal.aborted; ) {
        yield await this.sample()
        next = Math.max(next + every, performance.now())
        await wait(Math.max(0, next - performance.now()), undefined, { signal }).catch(() => {})
      }
    } finally {
      this.close()
    }
  }

  /** Closes all files. */
  close(): void {
    this.#views.keep(new Set())
  }

  /** Counts connections, unless the last count was so expensive that it would take too much CPU time. */
  #count(now: number): void {
    if (now < this.#nextCount) return
    const before = process.cpuUsage()
    this.#counts = this.#endpoints.count(this.#finder.otherNamespaces)
    const { user, system } = process.cpuUsage(before)
    this.#nextCount = now + (user + system) / 1000 / COUNT_SHARE
  }

  /** Returns null if no process of the server is left. */
  #sampleServer(server: readonly FoundProcess[], now: number): ServerSample | null {
    const processes = server.flatMap((found) => this.#sampleProcess(found) ?? [])
    const [main] = server
    if (main === undefined || processes.length === 0) return null
    const id = `${main.pid}-${main.startTime}`
    const memory = this.#memories.get(id) ?? {
      peaks: new PeakHistory(),
      cpu: new Map(),
      at: now,
      pressureFile: pressureFileOf(main.pid)
    }
    this.#memories.set(id, memory)
    const endpoints = new Map(server.flatMap((found) => [...found.endpoints]))
    const clients = endpoints.size === 0 ? null : sum([...endpoints.keys()].map((key) => this.#counts.get(key) ?? 0))
    const anonymous = sum(processes.map((process) => process.anonymous))
    const cpu = cpuShare(processes, memory, now)
    memory.cpu = new Map(processes.map((process) => [process.pid, process.cpu]))
    memory.at = now
    return {
      id,
      pid: main.pid,
      name: main.name,
      listens: sorted(endpoints.values()),
      clients,
      anonymous,
      resident: sum(processes.map(({ resident }) => resident)),
      cpu,
      inside: sumOf(processes.map(({ inside }) => inside)),
      sincePeak: clients === null ? null : memory.peaks.add(clients, anonymous),
      pressure: memory.pressureFile === null ? null : readPressure(memory.pressureFile),
      processes
    }
  }

  #sampleProcess(found: FoundProcess): ProcessSample | null {
    const { pid, startTime, name, endpoints } = found
    const figures = this.#views.read(pid, startTime)
    if (figures === null) {
      this.#finder.forget(pid)
      return null
    }
    return { pid, name, ...figures, listens: sorted(endpoints.values()), inside: this.#insides.of(pid) }
  }
}

/** Returns CPU time since the last sample over the time since then; null if there is no last sample. */
function cpuShare(processes: readonly ProcessSample[], memory: Memory, now: number): number | null {
  const elapsed = now - memory.at
  if (elapsed <= 0) return null
  const used = processes.map(({ pid, cpu }) => cpu - (memory.cpu.get(pid) ?? cpu))
  return Math.max(0, sum(used)) / elapsed
}

/** Whether a process has an inside socket that this process can reach. */
function answers({ namespace, innerPid }: FoundProcess, inside: ReadonlySet<number>): boolean {
  return namespace === undefined && inside.has(innerPid)
}

function namesOf(server: readonly FoundProcess[]): ServerNames {
  return {
    pids: server.map(({ pid }) => pid),
    names: server.flatMap(({ name, command }) => [name, command]),
    listens: server.flatMap(({ endpoints }) => [...endpoints.values()].map(({ listen }) => listen))
  }
}

/** Returns different addresses: TCP by port, then Unix sockets by path. */
function sorted(endpoints: Iterable<Endpoint>): Listen[] {
  const listens = [...endpoints].map(({ listen }) => listen)
  return listens.sort((a, b) => {
    if (a.type === 'tcp') return b.type === 'tcp' ? a.port - b.port || a.host.localeCompare(b.host) : -1
    return b.type === 'tcp' ? 1 : a.path.localeCompare(b.path)
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
